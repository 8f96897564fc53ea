"""Private PostgreSQL and Redis on free ports under a temporary folder, stopped and started at will."""

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

OS_USER = "postgres"
_START_SECONDS = 20.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait(what: str, answers: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while not answers():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} did not start")
        time.sleep(0.02)


def _binary(name: str) -> str:
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: int(path.parts[4]))
    return str(found[-1]) if found else name


class Postgres:
    """A cluster that trusts everyone on loopback and syncs nothing."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self._data = folder / "data"
        self._account = pwd.getpwnam(OS_USER)
        os.chown(folder, self._account.pw_uid, self._account.pw_gid)
        folder.chmod(0o700)
        self._server: subprocess.Popen[bytes] | None = None
        self._as_postgres([_binary("initdb"), "-D", str(self._data), "-U", OS_USER, "-A", "trust", "-N", "-E", "UTF8"])

    @property
    def dsn(self) -> str:
        return f"postgresql://{OS_USER}@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        settings = {
            "port": self.port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "fsync": "off",
            "shared_buffers": "32MB",
        }
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        self._server = subprocess.Popen(
            [_binary("postgres"), "-D", str(self._data), *options],
            user=OS_USER,
            group=OS_USER,
            extra_groups=[],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
        )
        _wait("postgres", self._answers)

    def stop(self) -> None:
        """At once, as a crash would."""
        if self._server is not None:
            self._server.send_signal(signal.SIGQUIT)
            self._server.wait(20)
            self._server = None

    def _answers(self) -> bool:
        done = subprocess.run(
            [_binary("pg_isready"), "-h", "127.0.0.1", "-p", str(self.port)], capture_output=True, check=False
        )
        return done.returncode == 0

    def _as_postgres(self, command: list[str]) -> None:
        subprocess.run(
            command, user=OS_USER, group=OS_USER, extra_groups=[], cwd="/", check=True, capture_output=True,
            env={"LANG": "C.UTF-8", "PATH": "/usr/bin:/bin"},
        )  # fmt: skip


class RedisServer:
    """Keeps nothing on disk."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self._folder = folder
        self._server: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        binary = shutil.which("redis-server")
        assert binary is not None
        self._server = subprocess.Popen(
            [binary, "--bind", "127.0.0.1", "--port", str(self.port), "--save", "", "--dir", str(self._folder)],
            stdout=subprocess.DEVNULL,
        )
        _wait("redis", self._answers)

    def stop(self) -> None:
        """At once, as a crash would."""
        if self._server is not None:
            self._server.kill()
            self._server.wait(20)
            self._server = None

    def pause(self) -> None:
        """Keeps its port and answers nothing."""
        assert self._server is not None
        self._server.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self._server is not None
        self._server.send_signal(signal.SIGCONT)

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 0.2) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(7) == b"+PONG\r\n"
        return False
