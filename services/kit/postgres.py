"""Connections to PostgreSQL, set up for what we do with them."""

import asyncpg

_HOT_SETTINGS = {
    # Hot statements join a few keys against a partitioned table by primary key. The planner cannot know that
    # unnest() yields few rows and would sometimes scan or hash every partition.
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "jit": "off",
}


async def connect_hot(dsn: str, name: str) -> asyncpg.Connection:
    """A dedicated connection for keyed statements. The caller owns and closes it."""
    return await asyncpg.connect(
        dsn,
        timeout=3,
        command_timeout=10,
        server_settings={**_HOT_SETTINGS, "application_name": name},
    )


async def open_pool(dsn: str, name: str, *, most: int = 4) -> asyncpg.Pool:
    """A small pool for reads and rare writes. Opens lazily, so a database that is down does not stop a start."""
    return await asyncpg.create_pool(
        dsn,
        min_size=0,
        max_size=most,
        timeout=3,
        command_timeout=10,
        max_inactive_connection_lifetime=300,
        server_settings={"application_name": name, "jit": "off"},
    )
