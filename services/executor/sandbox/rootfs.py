"""What a jail sees beside its own work: the machine's /usr, a generated /etc, five devices, and our init."""

import contextlib
import hashlib
import os
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from services.executor.sandbox.protocol import SandboxError

INSIDE_ID = 1000
"""User and group id that a program sees as its own."""

BASE = "/.base"
"""Where our own part lies inside the jail; /etc and /dev are links into it, so that one mount serves both."""

_ETC = {
    "passwd": (
        "root:x:0:0:root:/root:/usr/sbin/nologin\n"
        f"sandbox:x:{INSIDE_ID}:{INSIDE_ID}:sandbox:/work:/bin/sh\n"
        "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
    ),
    "group": f"root:x:0:\nsandbox:x:{INSIDE_ID}:\nnogroup:x:65534:\n",
    "nsswitch.conf": "passwd: files\ngroup: files\nshadow: files\nhosts: files\n",
    "hosts": "127.0.0.1 localhost sandbox\n::1 localhost\n",
    "hostname": "sandbox\n",
    "os-release": "",
}
_DEVICES = {"null": 3, "zero": 5, "full": 7, "random": 8, "urandom": 9}
_TOP = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")


@dataclass(frozen=True, slots=True)
class Rootfs:
    """What nsjail mounts, read-only and with everything mounted beneath: (from, to). And what it links: (to, name)."""

    binds: tuple[tuple[str, str], ...]
    links: tuple[tuple[str, str], ...]
    init: str
    """Path of our init inside the jail."""


def build_init(source: Path, cache: Path) -> Path:
    """Compiles our init, once per content. Raises SandboxError with what the compiler said."""
    digest = hashlib.sha256(source.read_bytes()).hexdigest()[:16]
    built = cache / f"init-{digest}"
    if built.exists():
        return built
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as scratch:
        fresh = Path(scratch) / "init"
        argv = ["gcc", "-O2", "-static", "-std=gnu17", "-Wall", "-Wextra", "-Werror", "-o", str(fresh), str(source)]
        try:
            done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise SandboxError("INIT", f"cannot compile our init: {error}") from error
        if done.returncode != 0:
            raise SandboxError("INIT", f"cannot compile our init: {done.stderr[:2000]}")
        fresh.replace(built)
    return built


def prepare_rootfs(init: Path, cache: Path, extra: Mapping[str, bytes] | None = None) -> Rootfs:
    """Makes our part of the root, once per content, and says what to mount. Executors on one machine share it.

    `extra` are more files by path beneath BASE, such as `etc/php/8.2/cli/php.ini`.
    Raises SandboxError where the directory cannot be used: a jail's user must be able to reach it, run programs from
    it and, unless devices are bound one by one, open devices in it.
    """
    digest = hashlib.sha256()
    files = {f"etc/{name}": text.encode() for name, text in _ETC.items()}
    files.update(extra or {})
    with contextlib.suppress(OSError):
        files["etc/ld.so.cache"] = Path("/etc/ld.so.cache").read_bytes()
    alternatives = {p.name: str(p.readlink()) for p in sorted(Path("/etc/alternatives").glob("*")) if p.is_symlink()}
    for name, content in files.items():
        digest.update(f"{name} {len(content)} ".encode() + content)
    digest.update(repr(alternatives).encode() + init.read_bytes())
    base = cache / f"base-{digest.hexdigest()[:16]}"
    if not base.exists():
        _build(base, init, files, alternatives)
    _check_reachable(base)
    binds = [("/usr", "/usr"), (str(base), BASE)]
    links = [(f"{BASE[1:]}/etc", "/etc")]
    if _opens_devices(base):
        links.append((f"{BASE[1:]}/dev", "/dev"))
    else:
        binds += [(f"/dev/{name}", f"/dev/{name}") for name in _DEVICES]
    for name in _TOP:
        top = Path("/", name)
        if top.is_symlink():
            links.append((str(top.readlink()).lstrip("/"), f"/{name}"))
        elif top.is_dir():
            binds.append((f"/{name}", f"/{name}"))
    return Rootfs(binds=tuple(binds), links=tuple(links), init=f"{BASE}/init")


def _build(base: Path, init: Path, files: dict[str, bytes], alternatives: dict[str, str]) -> None:
    base.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(dir=base.parent))
    try:
        (scratch / "etc" / "alternatives").mkdir(parents=True)
        (scratch / "dev").mkdir()
        for name, content in files.items():
            (scratch / name).parent.mkdir(parents=True, exist_ok=True)
            (scratch / name).write_bytes(content)
        for name, target in alternatives.items():
            (scratch / "etc" / "alternatives" / name).symlink_to(target)
        for name, target in (("fd", "/proc/self/fd"), ("shm", "/tmp"), ("stdin", "fd/0"), ("stdout", "fd/1")):  # noqa: S108
            (scratch / "dev" / name).symlink_to(target)
        (scratch / "dev" / "stderr").symlink_to("fd/2")
        for name, minor in _DEVICES.items():
            with contextlib.suppress(PermissionError):
                os.mknod(scratch / "dev" / name, stat.S_IFCHR | 0o666, os.makedev(1, minor))
                (scratch / "dev" / name).chmod(0o666)
        shutil.copyfile(init, scratch / "init")
        # Executable and not readable: the kernel then makes the process undumpable from its first instruction.
        (scratch / "init").chmod(0o111)
        for directory in (scratch, *(path for path in scratch.rglob("*") if path.is_dir() and not path.is_symlink())):
            directory.chmod(0o755)
        try:
            scratch.rename(base)
        except OSError:
            if not base.exists():  # another executor was quicker, which is fine
                raise
    except OSError as error:
        raise SandboxError("ROOTFS", f"cannot prepare {base}: {error}") from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _check_reachable(base: Path) -> None:
    for directory in (base, *base.parents):
        if not directory.stat().st_mode & stat.S_IXOTH:
            raise SandboxError(
                "ROOTFS", f"{directory} is closed to others, so jails cannot reach {base}; move STATE_DIR"
            )
    if os.statvfs(base).f_flag & os.ST_NOEXEC:
        raise SandboxError("ROOTFS", f"{base} lies on a file system mounted noexec; move STATE_DIR")


def _opens_devices(base: Path) -> bool:
    """Whether device nodes made there work: not on file systems mounted nodev, nor where mknod is not ours to call."""
    try:
        for name in _DEVICES:
            os.close(os.open(base / "dev" / name, os.O_RDWR | os.O_CLOEXEC))
    except OSError:
        return False
    return True
