"""PostgreSQL, RabbitMQ and Redis: prepared, started, answering."""

from collections.abc import Callable

from deploy.local import postgres, rabbitmq, ready, redis
from deploy.local.mesh import Mesh
from deploy.local.program import Program


def prepare(mesh: Mesh) -> None:
    """Makes data folders and configurations; the first time this takes a few seconds."""
    postgres.prepare(mesh)
    rabbitmq.prepare(mesh)
    redis.prepare(mesh)


def programs(mesh: Mesh) -> list[Program]:
    """What is to run. Call `prepare` first: a changed configuration is a changed program."""
    return [postgres.program(mesh), redis.program(mesh), *rabbitmq.programs(mesh)]


def checks(mesh: Mesh) -> list[tuple[str, str, Callable[[], str | None]]]:
    """Program, title, check; quickest first, since all of them start at the same time."""
    return [
        ("redis", "Redis answers PING", lambda: ready.redis_answers(mesh)),
        ("postgres", "PostgreSQL accepts connections", lambda: ready.postgres_answers(mesh)),
        ("rabbitmq", "RabbitMQ speaks AMQP", lambda: ready.rabbitmq_answers(mesh)),
    ]
