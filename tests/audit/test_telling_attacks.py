"""The most telling attacks of the catalogue, through the mesh of this session. All of them: make security-audit."""

import pytest

from audit import campaign
from audit.cases import CATALOGUE
from audit.local import local_target
from tests.mesh import RunningMesh


@pytest.mark.timeout(180)
async def test_the_most_telling_attacks_are_held(mesh: RunningMesh) -> None:
    cases = [case for case in CATALOGUE if case.fast]
    report = await campaign.run(local_target(mesh.mesh, mesh.pids), cases, whole=False, others=True)

    assert not report.verdict(), [(r.case_id, [p.text for p in r.problems]) for r in report.records if r.problems]
    assert len(report.held) == len(cases)
