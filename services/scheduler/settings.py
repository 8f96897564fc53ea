"""What operators may tune, and what each value trades."""

import socket
from datetime import timedelta

from pydantic import Field

from services.kit.settings import Duration, ServiceSettings


class Settings(ServiceSettings):
    """Environment of a scheduler."""

    database_url: str
    rabbitmq_url: str
    redis_url: str
    grpc_address: str = "127.0.0.1:50051"
    """Where Envoy and gateways call. Never exposed to executors."""
    executor_address: str = "127.0.0.1:50052"
    """Where executors dial. Never exposed to clients."""
    scheduler_id: str = Field(default_factory=socket.gethostname)

    lease_term_ms: int = Field(5000, ge=1000, le=60_000)
    """Shorter: a lost executor's work resumes sooner. Longer: slower pauses and restarts are survived."""
    heartbeat_interval_ms: int = Field(1000, ge=100, le=10_000)
    max_unpublished: int = Field(20_000, ge=0)
    """Submissions accepted while the broker is away, before new ones are refused."""
    initial_credit_bytes: int = Field(1_048_576, ge=65_536)
    """Output in flight per attempt: bounds our memory against a flood."""
    retention_days: int = Field(30, ge=1)
    partitions_ahead_days: int = Field(7, ge=2)
    default_time_limit_ms: int = Field(5000, ge=1, le=30_000)
    default_memory_limit_kb: int = Field(262_144, ge=4096, le=1_048_576)
    allow_network: bool = False
    health_notice: Duration = timedelta(seconds=1.5)
    """Between NOT_SERVING and closing the doors: Envoy asks every second."""
