"""A private PostgreSQL: made on first use, then only started."""

import hashlib
import os
import pwd
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

from deploy.local.mesh import DATABASE, PASSWORD, USER, Mesh
from deploy.local.program import Program

OS_USER = "postgres"
"""PostgreSQL refuses to run as root; Debian's package brings this user."""

# Reasons, where they are not plain: synchronous_commit stays on, because an accepted submission is one that is
# committed. wal_compression and max_wal_size spare checkpoints under bursts. jit costs more than any query here.
SETTINGS = """\
listen_addresses = '127.0.0.1'
port = {port}
unix_socket_directories = '{sockets}'
unix_socket_permissions = 0700
max_connections = 200
shared_buffers = 256MB
effective_cache_size = 1GB
work_mem = 8MB
maintenance_work_mem = 128MB
synchronous_commit = on
wal_compression = on
max_wal_size = 2GB
min_wal_size = 256MB
checkpoint_timeout = 10min
random_page_cost = 1.1
jit = off
autovacuum_naptime = 10s
autovacuum_vacuum_scale_factor = 0.05
timezone = 'UTC'
log_timezone = 'UTC'
log_destination = 'stderr'
logging_collector = off
log_min_duration_statement = 500
log_lock_waits = on
"""


def binary(name: str) -> str:
    """The newest installed server's own binary, past Debian's wrappers, which know only its own clusters."""
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: int(path.parts[4]))
    if not found:
        raise FileNotFoundError(f"{name}: PostgreSQL is not installed; run scripts/install.sh")
    return str(found[-1])


def home(mesh: Mesh) -> Path:
    """Its folder, which the postgres user enters."""
    return mesh.shared_folder("postgres")


def data(mesh: Mesh) -> Path:
    """PGDATA."""
    return home(mesh) / "data"


def sockets(mesh: Mesh) -> Path:
    """Folder of its unix socket, which trusts whoever may enter: root and postgres."""
    inside = home(mesh) / "run"
    return inside if len(str(inside)) <= 80 else mesh.sockets / "postgres"


def prepare(mesh: Mesh) -> None:
    """Makes the cluster where there is none, and writes its settings. Safe to repeat, also after it was interrupted."""
    account = pwd.getpwnam(OS_USER)
    for folder in (home(mesh), sockets(mesh)):
        folder.mkdir(parents=True, exist_ok=True)
        os.chown(folder, account.pw_uid, account.pw_gid)
        folder.chmod(0o700)
    if not (data(mesh) / "sentinel.made").exists():
        # The mark comes last: a cluster without it was interrupted while it was made, and holds nothing yet.
        shutil.rmtree(data(mesh), ignore_errors=True)
        _as_postgres(
            [
                binary("initdb"),
                *("--pgdata", str(data(mesh)), "--username", OS_USER, "--encoding", "UTF8", "--locale", "C.UTF-8"),
                *("--auth-local", "trust", "--auth-host", "scram-sha-256", "--data-checksums", "--no-instructions"),
            ]
        )
        _create_database(mesh)
        (data(mesh) / "sentinel.made").touch()
    settings = SETTINGS.format(port=mesh.ports.postgres.number, sockets=sockets(mesh))
    (data(mesh) / "postgresql.auto.conf").write_text(settings)


def _create_database(mesh: Mesh) -> None:
    """In single-user mode: no port, no race with somebody else's server, nothing to stop."""
    statements = [
        f"CREATE ROLE {USER} LOGIN CREATEDB PASSWORD '{PASSWORD}'",
        f"CREATE DATABASE {DATABASE} OWNER {USER}",
    ]
    command = [binary("postgres"), "--single", "-D", str(data(mesh)), "postgres"]
    _as_postgres(command, stdin="".join(f"{statement}\n" for statement in statements))


def _as_postgres(command: Iterable[str], stdin: str = "") -> None:
    done = subprocess.run(
        list(command),
        user=OS_USER,
        group=OS_USER,
        extra_groups=[],
        # The caller's folder may be closed to that user.
        cwd="/",
        env={"LANG": "C.UTF-8", "PATH": "/usr/bin:/bin"},
        input=stdin,
        text=True,
        capture_output=True,
        check=False,
    )
    if done.returncode or "ERROR" in done.stderr:
        raise RuntimeError(f"{command}: {done.stderr.strip()}")


def program(mesh: Mesh) -> Program:
    """The server."""
    settings = hashlib.sha256((data(mesh) / "postgresql.auto.conf").read_bytes()).hexdigest()[:12]
    return Program(
        name="postgres",
        role="infrastructure",
        command=[binary("postgres"), "-D", str(data(mesh))],
        environment={"SENTINEL_CONFIGURATION": settings},
        user=OS_USER,
        # SIGTERM would wait for every client to leave; SIGINT sends them away.
        stop_signal="INT",
        priority=100,
    )
