"""What calls and answers look like, by message name. Every one is a message that the rules allow; a test sees to it."""

from typing import Any

_JOB = "0193b5a0-7c3e-7d41-9f3a-2b6c1d0e4f55"
_PYTHON = 'print(f"hello, {input()}")'

EXAMPLES: dict[str, Any] = {
    "SubmitRequest": {"language": "python", "source_code": _PYTHON, "stdin": "world\n", "time_limit_ms": 2000},
    "SubmitResponse": {"job_id": _JOB, "status": "QUEUED"},
    "SubmitBatchRequest": {
        "submissions": [
            {"language": "python", "source_code": _PYTHON, "stdin": "Ada\n"},
            {"language": "c", "files": [{"name": "main.c", "content": "int main(void) { return 0; }\n"}]},
        ]
    },
    "SubmitBatchResponse": {"items": [{"job_id": _JOB, "status": "QUEUED"}]},
    "Submission": {
        "job_id": _JOB,
        "language": "python",
        "source_code": _PYTHON,
        "files": [],
        "stdin": "world\n",
        "args": [],
        "compile_args": [],
        "env": {},
        "status": "SUCCESS",
        "stdout": "hello, world\n",
        "stderr": "",
        "compile_output": "",
        "exit_code": 0,
        "time_used_ms": 24,
        "cpu_time_ms": 19,
        "memory_used_kb": 9216,
        "time_limit_ms": 2000,
        "cpu_time_limit_ms": 2000,
        "memory_limit_kb": 262144,
        "output_limit_kb": 64,
        "process_limit": 64,
        "network": False,
        "attempt": 1,
        "created_at": "2026-11-23T12:00:00.000000Z",
        "started_at": "2026-11-23T12:00:00.012000Z",
        "finished_at": "2026-11-23T12:00:00.049000Z",
        "updated_at": "2026-11-23T12:00:00.049000Z",
    },
    "GetHealthResponse": {"status": "ok", "services": {"postgres": "ok", "rabbitmq": "ok", "redis": "ok"}},
}
