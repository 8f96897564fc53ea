"""The example client in Node.js, as its README says to run it."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.mesh import RunningMesh

EXAMPLES = Path(__file__).parents[2] / "examples"
REPOSITORY = EXAMPLES.parent


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A copy beside the protos, with the packages that its lock names."""
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed")
    root = tmp_path_factory.mktemp("node")
    folder = root / "examples" / "node"
    shutil.copytree(EXAMPLES / "node", folder, ignore=shutil.ignore_patterns("node_modules"))
    (root / "proto").symlink_to(REPOSITORY / "proto")
    subprocess.run(["npm", "ci", "--prefer-offline", "--loglevel=error"], cwd=folder, check=True, timeout=120)
    yield folder
    shutil.rmtree(folder / "node_modules")


def run(client: Path, mesh: RunningMesh, *words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["node", "submit_and_watch.js", *words],
        cwd=client,
        env=os.environ | {"SENTINEL_ENDPOINT": mesh.target},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_node_client_submits_and_watches_through_the_edge(client: Path, mesh: RunningMesh) -> None:
    ended = run(client, mesh)

    assert (ended.returncode, ended.stdout) == (0, "line 1\nline 2\nline 3\n"), ended.stderr
    told = ended.stderr.splitlines()
    assert told[0].startswith("job ")
    assert told[-1].startswith("SUCCESS · ")


def test_the_node_client_shows_a_refusal(client: Path, mesh: RunningMesh, tmp_path: Path) -> None:
    (tmp_path / "a.bf").touch()
    (tmp_path / "a.bf").write_text("+")

    ended = run(client, mesh, str(tmp_path / "a.bf"), "brainfuck")

    assert ended.returncode == 2
    assert "python" in ended.stderr


def test_the_lock_names_no_host() -> None:
    lock = (EXAMPLES / "node" / "package-lock.json").read_text()

    assert "://" not in lock
