"""User ids outside the jails: each executor on a machine takes a block of its own, for as long as it lives."""

from services.executor.sandbox.cgroup import CgroupDriver
from services.executor.sandbox.protocol import SandboxError

BLOCK_SIZE = 1024
"""User ids per executor."""
BLOCKS = 1024


def take_ids(driver: CgroupDriver, first: int) -> int:
    """The first id of the lowest block, from `first` on, that no living executor has. Blocking.

    What marks a block as taken is the lock on the control group named after it, so whoever may sweep a group may use
    its ids too, and nobody else. Raises SandboxError.
    """
    aligned = -(-first // BLOCK_SIZE) * BLOCK_SIZE
    for block in range(BLOCKS):
        outside_id = aligned + block * BLOCK_SIZE
        if driver.take(str(outside_id)):
            return outside_id
    raise SandboxError("IDS", f"all {BLOCKS} blocks of user ids from {first} on are taken")
