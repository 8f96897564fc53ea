"""How often one client may call: one clock and one count for all replicas, kept in Redis.

Redis decides nothing that matters: while it is away every call may pass, and the edge's own limiter stands behind.
"""

import ipaddress
import time
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from redis.asyncio import Redis
from redis.exceptions import RedisError

from services.gateway.metrics import RATE_LIMIT_UNCHECKED
from services.kit.log import get_logger

_SCRIPT = Path(__file__).with_name("gcra.lua").read_text()
_PERIOD_SECONDS = 60
_READS_PER_WRITE = 10
_PAUSE_SECONDS = 1.0
"""After a failure Redis is not asked for so long: a hanging one must not make every call wait."""
_IPV6_PREFIX = 64
"""One subscriber commonly owns a whole /64 and could otherwise take a fresh address for every call."""


class CallClass(StrEnum):
    """What a call costs us."""

    WRITE = "write"
    """Creates work."""
    READ = "read"
    """Looks."""


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether a call may pass, and what its caller has left."""

    allowed: bool
    limit: int
    """Calls per minute; also the largest burst."""
    remaining: int
    """Calls that would pass right now."""
    retry_after: float
    """Seconds until this call would pass; 0 where it did."""
    reset: float
    """Seconds until a whole burst is allowed again."""


class Limiter:
    """GCRA: a burst of `limit` calls, then one every `60 / limit` seconds, per client and class."""

    def __init__(self, redis: Redis, writes_per_minute: int) -> None:
        self._script = redis.register_script(_SCRIPT)
        self._limits = {
            CallClass.WRITE: writes_per_minute,
            CallClass.READ: writes_per_minute * _READS_PER_WRITE,
        }
        self._ask_again_at = float("-inf")

    @property
    def enabled(self) -> bool:
        """False where the deployment sets no limit."""
        return self._limits[CallClass.WRITE] > 0

    async def decide(self, client: str, call: CallClass, cost: int = 1) -> Decision | None:
        """Counts `cost` calls where they may pass. None where nobody counts: limits off, or Redis away."""
        limit = self._limits[call]
        if not limit:
            return None
        now = time.monotonic()
        if now < self._ask_again_at:
            RATE_LIMIT_UNCHECKED.inc()
            return None
        try:
            allowed, remaining, wait, reset = await self._script(
                keys=[f"sentinel:rate:{call}:{network_of(client)}"],
                args=[limit, _PERIOD_SECONDS * 1_000_000, cost],
            )
        except (RedisError, OSError, TimeoutError) as error:
            self._ask_again_at = now + _PAUSE_SECONDS
            RATE_LIMIT_UNCHECKED.inc()
            get_logger().warning("rate_limit_unchecked", error=repr(error))
            return None
        return Decision(bool(allowed), limit, max(0, remaining), wait / 1e6, reset / 1e6)


def network_of(client: str) -> str:
    """Whom an address belongs to: itself for IPv4, its /64 for IPv6. Anything else stands for itself."""
    try:
        address = ipaddress.ip_address(client)
    except ValueError:
        return client[:64]
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((address, _IPV6_PREFIX), strict=False).network_address)
