"""What a gateway counts, beside what the kit and the record do."""

from importlib.metadata import PackageNotFoundError, version

from prometheus_client import Counter, Gauge

from services.kit.rpc_metrics import ADMISSION_REJECTED

STREAM_SUBSCRIBERS = Gauge("sentinel_stream_subscribers", "Viewers following a submission at present.", ["transport"])
RATE_LIMIT_UNCHECKED = Counter(
    "sentinel_rate_limit_unchecked", "Calls let through because Redis did not answer in time."
)
DEPENDENCY_UP = Gauge("sentinel_dependency_up", "1 while the dependency answers.", ["dependency"])
BUILD_INFO = Gauge("sentinel_build_info", "Always 1; the labels tell what runs.", ["version", "revision"])

TRANSPORTS = ("grpc", "websocket", "sse")
DEPENDENCIES = ("postgres", "rabbitmq", "redis")


def begin(revision: str) -> None:
    """Makes every label set exist from the start, so that rates do."""
    for transport in TRANSPORTS:
        STREAM_SUBSCRIBERS.labels(transport).set(0)
    for dependency in DEPENDENCIES:
        DEPENDENCY_UP.labels(dependency).set(0)
    ADMISSION_REJECTED.labels("rate_limit")
    BUILD_INFO.labels(_version(), revision).set(1)


def _version() -> str:
    try:
        return version("sentinel")
    except PackageNotFoundError:
        return "source"
