"""Bait on the host: a secret in an open directory, and listeners that nobody should ever call."""

import asyncio
import hashlib
import os
import secrets
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path


class Canary:
    """What lies open to every user of the host, but to no jail."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.secret = f"canary-{secrets.token_hex(12)}"
        self.abstract = f"audit-{secrets.token_hex(8)}"
        self.port = 0
        self.calls = 0
        """Connections that anybody made."""
        for name in ("secret", "sub/secret"):
            path = directory / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(self.secret)
            path.chmod(0o666)
        for path in (directory, directory / "sub"):
            path.chmod(0o777)

    def digest(self) -> str:
        """Of names, modes, owners and contents."""
        total = hashlib.sha256()
        for path in sorted(self.directory.rglob("*")):
            facts = path.lstat()
            total.update(
                f"{path.relative_to(self.directory)} {facts.st_mode} {facts.st_uid} {facts.st_nlink} ".encode()
            )
            if path.is_file():
                total.update(path.read_bytes())
        return total.hexdigest()

    def _called(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.calls += 1
        writer.close()


@asynccontextmanager
async def canaries() -> AsyncIterator[Canary]:
    """Lays them out, and takes them away."""
    directory = Path(tempfile.mkdtemp(prefix="sentinel-canary-", dir="/var/tmp"))
    canary = Canary(directory)
    servers: list[asyncio.Server] = []
    try:
        tcp = await asyncio.start_server(canary._called, "127.0.0.1", 0)  # noqa: SLF001 - same module
        servers.append(tcp)
        canary.port = tcp.sockets[0].getsockname()[1]
        servers.append(await asyncio.start_unix_server(canary._called, directory / "socket"))  # noqa: SLF001
        servers.append(await asyncio.start_unix_server(canary._called, "\0" + canary.abstract))  # noqa: SLF001
        (directory / "socket").chmod(0o777)
        yield canary
    finally:
        for server in servers:
            server.close()
        await asyncio.sleep(0)
        shutil.rmtree(directory, ignore_errors=True)


def digest_of(paths: tuple[Path, ...]) -> str:
    """Of the contents of files and directories; links are not followed."""
    total = hashlib.sha256()
    for top in paths:
        found = [Path(here) / name for here, _, names in os.walk(top) for name in names] if top.is_dir() else [top]
        for path in sorted(found):
            facts = path.lstat()
            total.update(f"{path} {facts.st_mode} ".encode())
            if path.is_file() and not path.is_symlink():
                total.update(path.read_bytes())
    return total.hexdigest()
