"""A private Redis for what is live: event streams and rate limits."""

import hashlib

from deploy.local.mesh import Mesh
from deploy.local.program import Program

# noeviction: a full Redis refuses new events, which costs liveness; evicting would silently tear streams.
SETTINGS = """\
bind 127.0.0.1
port {port}
protected-mode yes
daemonize no
dir "{home}"
save ""
appendonly yes
appendfsync everysec
auto-aof-rewrite-min-size 64mb
maxmemory 512mb
maxmemory-policy noeviction
tcp-keepalive 60
"""


def prepare(mesh: Mesh) -> None:
    """Writes its configuration."""
    home = mesh.state / "redis"
    home.mkdir(parents=True, exist_ok=True)
    (home / "redis.conf").write_text(SETTINGS.format(port=mesh.ports.redis.number, home=home))


def program(mesh: Mesh) -> Program:
    """The server."""
    configuration = mesh.state / "redis" / "redis.conf"
    return Program(
        name="redis",
        role="infrastructure",
        command=["/usr/bin/redis-server", str(configuration)],
        environment={"SENTINEL_CONFIGURATION": hashlib.sha256(configuration.read_bytes()).hexdigest()[:12]},
        priority=100,
    )
