"""Empty network namespaces, made once and kept.

Making one per jail, and the kernel's clearing up after it, cost more CPU than all its other namespaces together.

A namespace holds nothing but a loopback interface that is down. It belongs to our user namespace and not to the jail's,
so that no capability a program might come by there reaches it. One jail at a time uses it, and gives it back only when
it is proved gone.
"""

import contextlib
import ctypes
import errno
import os
from collections.abc import Iterator

from services.executor.sandbox.protocol import SandboxError

_CLONE_NEWNET = 0x40000000
_OURS = "/proc/thread-self/ns/net"

_libc = ctypes.CDLL(None, use_errno=True)


class Network:
    """One empty network. Its maker owns the descriptor."""

    def __init__(self, fd: int, ours: int) -> None:
        self._fd = fd
        self._ours = ours

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """What this thread starts in the block lives in this network. The block must not wait for anything.

        Raises SandboxError where the thread cannot go in; one that cannot come back ends the process.
        """
        _enter(self._fd)
        try:
            yield
        finally:
            try:
                _enter(self._ours)
            except SandboxError:
                # Going on without a network would look like every scheduler being away.
                os.abort()


class Networks:
    """So many networks, each lent to one jail at a time. Made by the thread that makes this; `close` gives them up.

    Raises SandboxError where this process has not the rights: then nsjail makes one per jail, owned by the jail's user
    namespace.
    """

    def __init__(self, count: int) -> None:
        self._descriptors = [os.open(_OURS, os.O_RDONLY | os.O_CLOEXEC)]
        ours = self._descriptors[0]
        try:
            for _ in range(count):
                if _libc.unshare(_CLONE_NEWNET) != 0:
                    raise SandboxError("NETWORK", f"cannot make a network: {os.strerror(ctypes.get_errno())}")
                self._descriptors.append(os.open(_OURS, os.O_RDONLY | os.O_CLOEXEC))
                _enter(ours)
        except SandboxError:
            self.close()
            raise
        self._free = [Network(fd, ours) for fd in self._descriptors[1:]]

    def take(self) -> Network:
        """One that nobody uses. Raises SandboxError where all are lent."""
        if not self._free:
            raise SandboxError("NETWORK", "all networks are in use")
        return self._free.pop()

    def give_back(self, network: Network) -> None:
        """Nothing lives in it any more."""
        self._free.append(network)

    def close(self) -> None:
        """Gives them up; the kernel clears away each that nothing lives in."""
        for fd in self._descriptors:
            os.close(fd)
        self._descriptors = []


def _enter(fd: int) -> None:
    if _libc.setns(fd, _CLONE_NEWNET) != 0:
        code = ctypes.get_errno()
        raise SandboxError("NETWORK", f"cannot enter a network: {errno.errorcode.get(code, code)}")
