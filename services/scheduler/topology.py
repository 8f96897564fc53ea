"""Everything that exists in RabbitMQ, with every limit written out. Declared by whoever comes first; all agree.

Works on 3.10 and 4.x: quorum queues, no priorities, and a delivery limit that is only a backstop, since 4.3 counts
deliveries differently. The attempt cap that matters is in PostgreSQL.
"""

from aiormq.abc import AbstractChannel
from pamqp.common import Arguments

EXECUTION_QUEUE = "execution_tasks"
DIRECT_EXCHANGE = "sentinel.direct"
EXECUTE_KEY = "execute"
DEAD_LETTER_EXCHANGE = "sentinel.dlx"
DEAD_LETTER_QUEUE = "dead_letter_queue"

MOST_WAITING = 1_000_000
"""Messages in the execution queue; past it the broker refuses and the outbox holds the rest."""
MOST_DELIVERIES = 20
MOST_DEAD_LETTERS = 100_000
DEAD_LETTER_DAYS = 14

_EXECUTION_ARGUMENTS: Arguments = {
    "x-queue-type": "quorum",
    "x-max-length": MOST_WAITING,
    "x-overflow": "reject-publish",
    "x-delivery-limit": MOST_DELIVERIES,
    "x-dead-letter-exchange": DEAD_LETTER_EXCHANGE,
    "x-dead-letter-strategy": "at-least-once",
}
_DEAD_LETTER_ARGUMENTS: Arguments = {
    "x-queue-type": "quorum",
    "x-max-length": MOST_DEAD_LETTERS,
    "x-overflow": "drop-head",
    "x-message-ttl": DEAD_LETTER_DAYS * 24 * 3600 * 1000,
}


async def declare(channel: AbstractChannel) -> None:
    """Declares all of it. Raises when something of the same name exists with other limits."""
    await channel.exchange_declare(DIRECT_EXCHANGE, exchange_type="direct", durable=True)
    # Fanout: a direct exchange would drop dead letters whose key nobody thought of.
    await channel.exchange_declare(DEAD_LETTER_EXCHANGE, exchange_type="fanout", durable=True)
    await channel.queue_declare(DEAD_LETTER_QUEUE, durable=True, arguments=_DEAD_LETTER_ARGUMENTS)
    await channel.queue_bind(DEAD_LETTER_QUEUE, DEAD_LETTER_EXCHANGE)
    await channel.queue_declare(EXECUTION_QUEUE, durable=True, arguments=_EXECUTION_ARGUMENTS)
    await channel.queue_bind(EXECUTION_QUEUE, DIRECT_EXCHANGE, EXECUTE_KEY)
