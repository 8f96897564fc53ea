"""Blocks of user ids: each executor on a machine takes one for itself, for as long as it lives."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from services.executor.sandbox.protocol import SandboxError

BLOCK_SIZE = 1024
"""User ids per executor."""
BLOCKS = 1024


@contextmanager
def take_block(state: Path) -> Iterator[int]:
    """The lowest block that no living executor holds. The kernel gives it back however we die. Raises SandboxError."""
    for block in range(BLOCKS):
        fd = _try_lock(state, block)
        if fd is not None:
            try:
                yield block
            finally:
                os.close(fd)
            return
    raise SandboxError("BLOCKS", f"all {BLOCKS} blocks of user ids are taken")


@contextmanager
def hold_if_dead(state: Path, block: int) -> Iterator[bool]:
    """Says whether nobody holds this block; if so, nobody can take it until the end of the `with`."""
    fd = _try_lock(state, block)
    try:
        yield fd is not None
    finally:
        if fd is not None:
            os.close(fd)


def _try_lock(state: Path, block: int) -> int | None:
    locks = state / "blocks"
    try:
        locks.mkdir(parents=True, exist_ok=True)
        fd = os.open(locks / str(block), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise SandboxError("BLOCKS", f"cannot open {locks}/{block}: {error}") from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    return fd
