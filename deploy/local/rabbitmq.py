"""A private RabbitMQ with its own port mapper, so that nothing of Erlang outlives the mesh."""

import hashlib
import secrets

from deploy.local.mesh import PASSWORD, USER, Mesh
from deploy.local.program import Program

SERVER = "/usr/lib/rabbitmq/bin/rabbitmq-server"
"""Not the one in /usr/sbin, which changes user and reads the machine's own configuration."""

# The write-ahead log of quorum queues is also a table in memory, 512 MiB large by default; 64 MiB keeps the
# process flat while the queue holds 100,000 messages.
SETTINGS = """\
listeners.tcp.1 = 127.0.0.1:{port}
management.tcp.ip = 127.0.0.1
management.tcp.port = {management}
management.rates_mode = basic
default_vhost = /
default_user = {user}
default_pass = {password}
default_user_tags.administrator = true
default_permissions.configure = .*
default_permissions.read = .*
default_permissions.write = .*
vm_memory_high_watermark.relative = 0.25
disk_free_limit.absolute = 512MB
raft.wal_max_size_bytes = 64000000
collect_statistics_interval = 10000
log.console = true
log.console.level = info
log.console.use_colors = off
log.file = false
"""


def prepare(mesh: Mesh) -> None:
    """Writes its configuration. The user is made by the server itself at its first start."""
    home = mesh.state / "rabbitmq"
    home.mkdir(parents=True, exist_ok=True)
    (home / "rabbitmq.conf").write_text(
        SETTINGS.format(
            port=mesh.ports.rabbitmq.number,
            management=mesh.ports.rabbitmq_management.number,
            user=USER,
            password=PASSWORD,
        )
    )
    (home / "enabled_plugins").write_text("[rabbitmq_management].\n")
    (home / "environment.conf").touch()
    cookie = home / ".erlang.cookie"
    if not cookie.exists():
        cookie.touch(mode=0o600)
        cookie.write_text(secrets.token_hex(16))
    cookie.chmod(0o400)


NODE = "sentinel@localhost"
"""The same everywhere: each mesh has a port mapper of its own, and data belongs to a name."""


def environment(mesh: Mesh) -> dict[str, str]:
    """What the server and `rabbitmqctl` need to find each other."""
    home = mesh.state / "rabbitmq"
    return {
        "HOME": str(home),
        "ERL_EPMD_PORT": str(mesh.ports.epmd.number),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODENAME": NODE,
        "RABBITMQ_BASE": str(home),
        "RABBITMQ_CONF_ENV_FILE": str(home / "environment.conf"),
        "RABBITMQ_CONFIG_FILE": str(home / "rabbitmq"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(home / "enabled_plugins"),
        "RABBITMQ_MNESIA_BASE": str(home / "data"),
        "RABBITMQ_LOG_BASE": str(home / "logs"),
        "RABBITMQ_DIST_PORT": str(mesh.ports.rabbitmq_distribution.number),
        # Without busy waiting: spinning schedulers of an idle broker take the cores that programs should have.
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1} -start_epmd false "
        "+sbwt none +sbwtdcpu none +sbwtdio none",
    }


def programs(mesh: Mesh) -> list[Program]:
    """The port mapper in the foreground, then the server, which would otherwise leave a mapper of its own behind."""
    home = mesh.state / "rabbitmq"
    settings = hashlib.sha256((home / "rabbitmq.conf").read_bytes()).hexdigest()[:12]
    return [
        Program(
            name="epmd",
            role="infrastructure",
            command=["/usr/bin/epmd", "-address", "127.0.0.1", "-port", str(mesh.ports.epmd.number)],
            priority=100,
        ),
        Program(
            name="rabbitmq",
            role="infrastructure",
            command=[SERVER],
            # As under systemd the script then becomes the server, which ends gracefully on SIGTERM, instead
            # of waiting beside it.
            environment={
                **environment(mesh),
                "RUNNING_UNDER_SYSTEMD": "true",
                "SENTINEL_CONFIGURATION": settings,
            },
            stop_seconds=40,
            priority=110,
        ),
    ]
