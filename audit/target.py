"""Which mesh is attacked, and where the auditor may look at it from outside."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A mesh on this machine that nobody else uses meanwhile."""

    edge: str
    """host:port of Envoy; everything is submitted there."""
    database_url: str
    amqp_url: str
    cgroup: str
    """Name of the control group of its executors."""
    first_user_id: int
    user_ids: int
    """Outside ids that jails of this mesh may have."""
    slots: int
    """Jails that wait, per executor."""
    executors: int
    pids: Callable[[], Mapping[str, int]]
    """Name → pid of what runs; executors are called executor-N."""
    ports: tuple[int, ...]
    """Everything of it that listens."""
    secret_words: tuple[str, ...] = ()
    """Credentials that no output may contain."""
    guarded: tuple[Path, ...] = ()
    """Files of ours that no program may change or see: policy, nsjail, jail roots."""

    def with_secret(self, word: str) -> "Target":
        """The same, with one more word that no output may contain."""
        return replace(self, secret_words=(*self.secret_words, word))
