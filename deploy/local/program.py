"""One process that the mesh keeps running."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

MARKER = "SENTINEL_SUPERVISED"
"""Environment variable that every process of a mesh carries, with the mesh's state directory as value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A command with the whole of its environment. Nothing is inherited from the shell that typed `make up`."""

    name: str
    role: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    user: str | None = None
    stop_signal: str = "TERM"
    stop_seconds: int = 20
    """Then SIGKILL."""
    priority: int = 500
    """Started in rising order, stopped in falling order."""
