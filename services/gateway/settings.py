"""What operators may tune, and what each value trades."""

from datetime import timedelta

from pydantic import Field

from services.kit.settings import Duration, ServiceSettings, Words


class Settings(ServiceSettings):
    """Environment of a gateway."""

    database_url: str
    rabbitmq_url: str
    redis_url: str
    grpc_address: str = "127.0.0.1:50061"
    """StatusService and the rate limit decisions, for Envoy."""
    http_address: str = Field("127.0.0.1:8081", pattern=r"^.+:\d{1,5}$")
    """WebSocket, SSE, OpenAPI and pages, for Envoy."""
    scheduler_address: Words = ()
    """`host:port` list of the schedulers' client listeners: where a WebSocket's cancel goes."""

    rate_limit: int = Field(100, ge=0)
    """Calls per minute and client that create work; reads have ten times that. 0 switches the limits off."""
    read_timeout: Duration = timedelta(seconds=10)
    """Longest wait for the database before a viewer gets its first answer."""
    write_timeout: Duration = timedelta(seconds=30)
    """Longest time one frame may take to leave for a viewer. Shorter: slow viewers are sent away sooner."""
    cors_origins: Words = ()
    """Origins whose pages may open a WebSocket, beside our own; `*` for any."""
    health_notice: Duration = timedelta(seconds=2)
    """Between NOT_SERVING and closing the doors: Envoy asks every second."""
    revision: str = "unknown"
    """Of the source, for build_info."""
