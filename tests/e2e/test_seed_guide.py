"""The commands of the seed's deployment guide, word for word."""

import subprocess

from tests.mesh import RunningMesh

HEALTH = "curl http://localhost:8080/api/v1/health"
HEALTHY = '{"status":"ok","services":{"postgres":"ok","rabbitmq":"ok","redis":"ok"}}'

SUBMIT_AND_POLL = r"""
# Submit
JOB_ID=$(curl -s -X POST http://localhost:8080/api/v1/submissions \
  -H "Content-Type: application/json" \
  -d '{"language":"python","source_code":"print(42)"}' | jq -r '.job_id')

echo "Job ID: $JOB_ID"

# Poll until complete
for i in $(seq 1 30); do
  STATUS=$(curl -s http://localhost:8080/api/v1/submissions/$JOB_ID | jq -r '.status')
  echo "Attempt $i: $STATUS"
  [[ "$STATUS" == "SUCCESS" ]] && break
  sleep 1
done

# Verify output
curl -s http://localhost:8080/api/v1/submissions/$JOB_ID | jq .
"""


def _bash(script: str, mesh: RunningMesh) -> str:
    """Runs it as written, but for the port of this session's mesh."""
    there = script.replace("localhost:8080", mesh.target)
    return subprocess.run(["bash", "-c", there], check=True, capture_output=True, text=True, timeout=60).stdout


def test_the_health_check_prints_what_the_guide_expects(mesh: RunningMesh) -> None:
    assert _bash(HEALTH, mesh) == HEALTHY


def test_the_submit_and_poll_script_ends_in_success_with_the_output(mesh: RunningMesh) -> None:
    printed = _bash(SUBMIT_AND_POLL, mesh)
    assert ": SUCCESS\n" in printed
    assert '"stdout": "42\\n"' in printed
