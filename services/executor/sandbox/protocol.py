"""What the executor asks of a sandbox, and the facts it gets back. Knows neither nsjail nor control groups."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol


class SandboxError(Exception):
    """*We* failed to run a program. `reason` is a stable word for metrics, the text is for the operator."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(f"{reason}: {text}")
        self.reason = reason
        self.text = text


class Cause(Enum):
    """Why we killed a program. The first one to be noticed stands."""

    WALL_TIME = "wall_time"  # Limits.wall_ms passed on the monotonic clock
    CPU_TIME = "cpu_time"  # Limits.cpu_ms passed on the control group's clock
    MEMORY = "memory"  # the kernel met Limits.memory_bytes and had to kill
    OUTPUT = "output"  # one stream passed Limits.output_bytes
    CANCELLED = "cancelled"  # somebody asked: Sandbox.stop()


@dataclass(frozen=True, slots=True)
class Exited:
    """The main process ended by itself."""

    code: int


@dataclass(frozen=True, slots=True)
class Signalled:
    """A signal that was not ours ended the main process."""

    number: int


@dataclass(frozen=True, slots=True)
class Killed:
    """We killed the program before it ended."""

    by: Cause


Ending = Exited | Signalled | Killed


class Stream(Enum):
    """The two streams a program writes."""

    STDOUT = "stdout"
    STDERR = "stderr"


OutputSink = Callable[[Stream, bytes], None]
"""Takes output as it is read, at most `Limits.output_bytes` per stream. Called on the event loop; must not block."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """What to start. `argv[0]` is an absolute path inside the jail; nothing is searched."""

    argv: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)
    directory: str = "/work"
    merge_output: bool = False
    """Standard error goes into standard output, in the order written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one phase may use, all its processes together."""

    wall_ms: int
    cpu_ms: int
    memory_bytes: int
    """Page cache and files in the jail's in-memory directories count."""
    processes: int
    """Processes and threads at one time."""
    output_bytes: int
    """Per stream."""
    file_bytes: int = 64 << 20
    """Largest file."""
    stack_bytes: int = 64 << 20
    """Main thread's stack; also the default of other threads."""
    open_files: int = 256


@dataclass(frozen=True, slots=True)
class StreamCount:
    """Bytes read from one stream (one more than the limit where the limit fired), and bytes kept."""

    produced: int = 0
    kept: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What one phase did use: the kernel's counters and our clock, nothing the program could write."""

    wall_ms: float
    cpu_ms: float
    memory_peak_bytes: int
    oom_events: int
    peak_processes: int
    """0 where the kernel does not tell. Our init is not counted."""
    stdout: StreamCount = StreamCount()
    stderr: StreamCount = StreamCount()


class Stdin:
    """Bytes for a program: what is there at the start, and perhaps more later. Never blocks whoever feeds it."""

    def __init__(self, data: bytes = b"", *, open_end: bool = False) -> None:
        self._pending = bytearray(data)
        self._ended = not open_end
        self._wake: Callable[[], None] | None = None

    @property
    def pending(self) -> int:
        """Bytes that no program has taken yet."""
        return len(self._pending)

    @property
    def ended(self) -> bool:
        """Nothing follows what is pending."""
        return self._ended

    def feed(self, data: bytes) -> None:
        """Adds bytes; ignored after the end."""
        if not self._ended:
            self._pending += data
            self._notify()

    def end(self) -> None:
        """Nothing follows."""
        self._ended = True
        self._notify()

    def peek(self, most: int) -> bytes:
        """The next bytes, left in place."""
        return bytes(self._pending[:most])

    def consumed(self, count: int) -> None:
        """Drops what was written."""
        del self._pending[:count]

    def on_change(self, wake: Callable[[], None] | None) -> None:
        """Calls `wake` whenever there is more, or the end."""
        self._wake = wake

    def _notify(self) -> None:
        if self._wake is not None:
            self._wake()


class Sandbox(Protocol):
    """One prepared box for one submission. Checked out of a pool, which owns its life; never used for another."""

    async def put(self, path: str, content: bytes, *, mode: int = 0o644) -> None:
        """Writes a file beneath the working directory, making parents. Raises SandboxError."""

    async def run(
        self, command: Command, limits: Limits, *, stdin: Stdin, output: OutputSink, more: bool = False
    ) -> tuple[Ending, Usage]:
        """Runs one command to its end; on return no process of it is left.

        `more` says that another command is likely to follow: its accounting is prepared while this one runs, so that
        none of what this one used is counted against it.

        A hostile program never raises, it ends. Raises SandboxError where *we* failed. After a Killed ending, an
        error or a cancellation the box takes no further command. Safe to cancel: the program is killed.
        """

    def signal(self, number: int) -> None:
        """Sends a signal to the program's process group; ignored where nothing runs."""

    def stop(self) -> None:
        """Kills what runs, now or as soon as it starts; `run` then returns Killed(CANCELLED). Idempotent."""


class SandboxPool(Protocol):
    """Boxes prepared ahead of need."""

    def checkout(self) -> AbstractAsyncContextManager[Sandbox]:
        """A fresh box, waiting for one where none is ready; destroyed on exit. Raises SandboxError."""
