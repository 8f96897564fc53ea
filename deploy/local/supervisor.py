"""supervisord keeps the processes: its private configuration, its start, and talking to it."""

import http.client
import socket
import subprocess
import sys
import time
import xmlrpc.client
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, cast

from deploy.local.mesh import ROOT, Mesh
from deploy.local.program import MARKER, Program

UP = frozenset({"STARTING", "RUNNING", "BACKOFF"})
_WITHOUT_WAITING = False
_ALREADY_STARTED = 60
_NOT_RUNNING = 70


class SupervisorDown(Exception):
    """There is no supervisor to talk to."""


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=90)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        try:
            self.sock.connect(self._path)
        except OSError:
            self.close()
            raise


class _UnixTransport(xmlrpc.client.Transport):
    def __init__(self, path: str) -> None:
        super().__init__()
        self._path = path

    def make_connection(self, host: Any) -> http.client.HTTPConnection:
        # Kept where `close` looks for it.
        connection = _UnixConnection(self._path)
        self._connection = host, connection
        return connection


class Supervisor:
    """The supervisor of one mesh, running or not."""

    def __init__(self, mesh: Mesh) -> None:
        self._mesh = mesh
        self.configuration = mesh.state / "supervisord.conf"
        self._socket = mesh.sockets / "supervisor.sock"

    def keep(self, programs: Sequence[Program]) -> None:
        """Makes these the programs it keeps, starting the supervisor where needed, but none of the programs.

        Programs that changed or went are stopped; what is unchanged is left alone.
        """
        self.configuration.touch(mode=0o600)
        self.configuration.write_text(render(self._mesh, self._socket, programs))
        if not self.answers():
            self._start()
            return
        [[added, changed, removed]] = self._call("reloadConfig")
        for group in [*removed, *changed]:
            self._call("stopProcessGroup", group)
            self._call("removeProcessGroup", group)
        for group in [*changed, *added]:
            self._call("addProcessGroup", group)

    def _start(self) -> None:
        """A socket left by a killed supervisor is not in the way: supervisord replaces one that nobody answers."""
        binary = Path(sys.executable).with_name("supervisord")
        started = subprocess.run(
            [sys.executable, str(binary), "-c", str(self.configuration)],
            capture_output=True,
            text=True,
            check=False,
            cwd=self._mesh.state,
            # Not the caller's environment: children would inherit it, and executors must learn no credentials.
            env={
                "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                "LANG": "C.UTF-8",
                "HOME": str(self._mesh.state),
                MARKER: str(self._mesh.state),
            },
        )
        if started.returncode:
            raise SupervisorDown(f"supervisord: {started.stdout}{started.stderr}")
        deadline = time.monotonic() + 10
        while not self.answers():
            if time.monotonic() > deadline:
                raise SupervisorDown("supervisord did not start; see logs/supervisord.log")
            time.sleep(0.05)

    def answers(self) -> bool:
        """Whether it runs."""
        try:
            self._call("getState")
        except SupervisorDown:
            return False
        return True

    def start(self, name: str) -> None:
        """Starts a program; nothing where it already runs. Does not wait."""
        try:
            self._call("startProcess", name, _WITHOUT_WAITING)
        except xmlrpc.client.Fault as fault:
            if fault.faultCode != _ALREADY_STARTED:
                raise

    def stop(self, name: str, *, wait: bool = True) -> None:
        """Stops a program, by default waiting for its end; nothing where it does not run."""
        try:
            self._call("stopProcess", name, wait)
        except xmlrpc.client.Fault as fault:
            if fault.faultCode != _NOT_RUNNING:
                raise

    def signal(self, name: str, signal: str) -> None:
        """Sends a signal such as `KILL` to a program."""
        self._call("signalProcess", name, signal)

    def states(self) -> dict[str, str]:
        """Name → STOPPED, STARTING, RUNNING, BACKOFF, STOPPING, EXITED or FATAL. Empty where it does not run."""
        try:
            return {info["name"]: info["statename"] for info in self._call("getAllProcessInfo")}
        except SupervisorDown:
            return {}

    def pids(self) -> dict[str, int]:
        """Name → pid, of those that run."""
        try:
            return {info["name"]: info["pid"] for info in self._call("getAllProcessInfo") if info["pid"]}
        except SupervisorDown:
            return {}

    def shut_down(self) -> None:
        """Ends it and all it keeps, in falling order of priority, and waits for its end."""
        try:
            pid = self._call("getPID")
            self._call("shutdown")
        except SupervisorDown:
            return
        deadline = time.monotonic() + 60
        while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
            time.sleep(0.05)

    def _call(self, method: str, *arguments: Any) -> Any:
        try:
            with xmlrpc.client.ServerProxy("http://localhost", transport=_UnixTransport(str(self._socket))) as server:
                return cast("Any", getattr(server.supervisor, method)(*arguments))
        except (OSError, http.client.HTTPException) as error:
            raise SupervisorDown(str(error)) from error


def render(mesh: Mesh, socket_path: Path, programs: Iterable[Program]) -> str:
    """supervisord.conf."""
    programs = sorted(programs, key=lambda program: (program.priority, program.name))
    head = f"""\
; Rendered by deploy.local; edits are lost with the next `make up`.
[unix_http_server]
file={_escape(socket_path)}
chmod=0700

[supervisord]
user=root
logfile={_escape(mesh.logs / "supervisord.log")}
logfile_maxbytes=5MB
logfile_backups=1
loglevel=info
pidfile={_escape(mesh.state / "supervisord.pid")}
directory={_escape(ROOT)}
minfds=20000
minprocs=200
umask=022
strip_ansi=false

[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface
"""
    return head + "".join(_section(mesh, program) for program in programs)


def _section(mesh: Mesh, program: Program) -> str:
    environment = {MARKER: str(mesh.state), **program.environment}
    user = f"user={program.user}\n" if program.user else ""
    return f"""
[program:{program.name}]
command={_escape(" ".join(_word(part) for part in program.command))}
environment={_escape(",".join(_pair(name, value) for name, value in sorted(environment.items())))}
{user}autostart=false
autorestart=true
startsecs=1
startretries=1000000
stopsignal={program.stop_signal}
stopwaitsecs={program.stop_seconds}
killasgroup=true
priority={program.priority}
redirect_stderr=true
stdout_logfile={_escape(mesh.logs / (program.name + ".log"))}
stdout_logfile_maxbytes=20MB
stdout_logfile_backups=1
"""


def _escape(text: object) -> str:
    return str(text).replace("%", "%%")


def _word(text: str) -> str:
    if '"' in text or "\n" in text:
        raise ValueError(f"supervisord cannot take this argument: {text!r}")
    return f'"{text}"'


def _pair(name: str, value: str) -> str:
    if '"' in value or "\n" in value:
        raise ValueError(f"{name}: supervisord cannot pass on a value with a quote or a line break")
    return f'{name}="{value}"'
