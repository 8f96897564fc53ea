"""What one mesh is: where it keeps its data, which ports it takes, how many of each process it has."""

import hashlib
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from deploy.local.ports import Ports

ROOT = Path(__file__).resolve().parents[2]

USER = "sentinel"
PASSWORD = "sentinel_secret"  # noqa: S105  the documented development password; everything is on loopback
DATABASE = "sentinel"

_LONGEST_SOCKET_FOLDER = 80
"""A unix socket's path may have 107 bytes; the name inside the folder needs some of them."""


def read_dotenv(path: Path) -> dict[str, str]:
    """`NAME=value` lines; blank lines and `#` comments are skipped. Empty where there is no such file."""
    if not path.is_file():
        return {}
    found: dict[str, str] = {}
    for line in path.read_text().splitlines():
        name, separator, value = line.partition("=")
        if separator and not name.lstrip().startswith("#"):
            found[name.strip()] = value.strip().strip("\"'")
    return found


@dataclass(frozen=True)
class Mesh:
    """One mesh. `environment` is what the operator set; everything else follows from it."""

    state: Path
    ports: Ports
    schedulers: int
    gateways: int
    executors: int
    environment: Mapping[str, str]

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> "Mesh":
        """Reads the process environment over `.env`, or exactly what is given.

        Raises ValueError with a sentence for people where a value cannot be used.
        """
        if environment is None:
            environment = {**read_dotenv(ROOT / ".env"), **os.environ}
        environment = {name: value for name, value in environment.items() if value != ""}
        state = Path(environment.get("SENTINEL_STATE_DIR", ROOT / ".sentinel"))
        return cls(
            state=(ROOT / state).resolve(),
            ports=Ports(environment),
            schedulers=_replicas(environment, "SCHEDULERS", 2),
            gateways=_replicas(environment, "GATEWAYS", 1),
            executors=_replicas(environment, "EXECUTORS", 2),
            environment=environment,
        )

    @property
    def name(self) -> str:
        """Short name that no other state directory has."""
        return hashlib.sha256(str(self.state).encode()).hexdigest()[:8]

    def shared_folder(self, name: str) -> Path:
        """A folder that users other than root have to enter: with the other data, or under /var/lib.

        A clone in /root is closed to them, and its mode is not ours to change.
        """
        inside = self.state / name
        reachable = all(folder.stat().st_mode & 0o001 for folder in inside.parents if folder.exists())
        return inside if reachable else self.elsewhere / name

    @property
    def elsewhere(self) -> Path:
        """Where shared folders are when the state directory is closed."""
        return Path("/var/lib/sentinel") / self.name

    @property
    def logs(self) -> Path:
        """One file per process."""
        return self.state / "logs"

    @property
    def sockets(self) -> Path:
        """Folder of unix sockets, short enough for the kernel."""
        inside = self.state / "run"
        return inside if len(str(inside)) <= _LONGEST_SOCKET_FOLDER else Path(f"/tmp/sentinel-{self.name}")  # noqa: S108

    @property
    def pool_size(self) -> int:
        """Slots per executor: together one more than there are cores, so that a waiting program idles none."""
        if given := self.environment.get("POOL_SIZE"):
            return int(given)
        cores = len(os.sched_getaffinity(0))
        return max(1, math.ceil((cores + 1) / max(1, self.executors)))

    @property
    def database_url(self) -> str:
        """PostgreSQL, as the services are told."""
        return f"postgres://{USER}:{PASSWORD}@{self.ports.postgres.address}/{DATABASE}"

    @property
    def rabbitmq_url(self) -> str:
        """RabbitMQ, default vhost."""
        return f"amqp://{USER}:{PASSWORD}@{self.ports.rabbitmq.address}/"

    @property
    def redis_url(self) -> str:
        """Redis, database 0."""
        return f"redis://{self.ports.redis.address}/0"

    @property
    def url(self) -> str:
        """The edge."""
        return f"http://localhost:{self.ports.edge.number}"


def _replicas(environment: Mapping[str, str], variable: str, default: int) -> int:
    text = environment.get(variable, str(default))
    if not text.isdecimal():
        raise ValueError(f"{variable}={text}: expected a number of processes")
    return int(text)
