"""The one table of ports. Everything but the two doors people type is an offset from one base."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

DEFAULT_BASE = 17000
SPAN = 600
"""Ports a mesh may take, counted from its base; two bases this far apart never meet."""

MOST_REPLICAS = 50


@dataclass(frozen=True, slots=True)
class Port:
    """A port, what it is for in words a person needs, and the variable that moves it."""

    number: int
    purpose: str
    variable: str

    @property
    def address(self) -> str:
        """As `host:port`."""
        return f"127.0.0.1:{self.number}"


class Ports:
    """Every port of one mesh."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        base_given = "SENTINEL_PORT_BASE" in environment
        self.base = int(environment.get("SENTINEL_PORT_BASE", DEFAULT_BASE))
        if not 1024 <= self.base <= 65535 - SPAN:
            raise ValueError(f"SENTINEL_PORT_BASE={self.base}: expected 1024 to {65535 - SPAN}")
        # A second mesh moves its doors too, or it would meet the first one there.
        edge = self.base if base_given else 8080
        management = self.base + 6 if base_given else 15672
        self.edge = Port(int(environment.get("PORT", edge)), "edge: REST, gRPC, WebSocket, page", "PORT")
        self.rabbitmq_management = Port(
            int(environment.get("RABBITMQ_MANAGEMENT_PORT", management)),
            "RabbitMQ management",
            "RABBITMQ_MANAGEMENT_PORT",
        )
        self.postgres = self._at(1, "PostgreSQL")
        self.rabbitmq = self._at(2, "RabbitMQ (AMQP)")
        self.redis = self._at(3, "Redis")
        self.epmd = self._at(4, "Erlang port mapper of RabbitMQ")
        self.rabbitmq_distribution = self._at(5, "Erlang distribution of RabbitMQ")
        self.envoy_admin = self._at(7, "Envoy admin")

    def _at(self, offset: int, purpose: str) -> Port:
        return Port(self.base + offset, purpose, "SENTINEL_PORT_BASE")

    def _replica(self, block: int, index: int, purpose: str) -> Port:
        if not 0 <= index < MOST_REPLICAS:
            raise ValueError(f"{purpose}: at most {MOST_REPLICAS} replicas on one machine")
        return self._at(50 + block * MOST_REPLICAS + index, f"{purpose} {index}")

    def scheduler_grpc(self, index: int) -> Port:
        """Where Envoy reaches SchedulerService."""
        return self._replica(0, index, "scheduler: gRPC")

    def scheduler_sessions(self, index: int) -> Port:
        """Where executors dial."""
        return self._replica(1, index, "scheduler: executor sessions")

    def scheduler_admin(self, index: int) -> Port:
        """/metrics, /healthz, /readyz."""
        return self._replica(2, index, "scheduler: admin")

    def gateway_grpc(self, index: int) -> Port:
        """Where Envoy reaches StatusService and RateLimitService."""
        return self._replica(3, index, "gateway: gRPC")

    def gateway_http(self, index: int) -> Port:
        """Where Envoy reaches WebSocket, SSE, OpenAPI and the page."""
        return self._replica(4, index, "gateway: HTTP")

    def gateway_admin(self, index: int) -> Port:
        """/metrics, /healthz, /readyz."""
        return self._replica(5, index, "gateway: admin")

    def executor_admin(self, index: int) -> Port:
        """/metrics, /healthz, /readyz."""
        return self._replica(6, index, "executor: admin")

    def infrastructure(self) -> Iterator[Port]:
        """What `up-infra` binds."""
        yield from (self.postgres, self.redis, self.epmd, self.rabbitmq, self.rabbitmq_distribution)
        yield self.rabbitmq_management

    def services(self, schedulers: int, gateways: int, executors: int) -> Iterator[Port]:
        """What comes on top with `up`."""
        for index in range(schedulers):
            yield from (self.scheduler_grpc(index), self.scheduler_sessions(index), self.scheduler_admin(index))
        for index in range(gateways):
            yield from (self.gateway_grpc(index), self.gateway_http(index), self.gateway_admin(index))
        for index in range(executors):
            yield self.executor_admin(index)
        yield from (self.edge, self.envoy_admin)
