"""Envoy as a process of the local mesh: rendered, started, drained."""

import contextlib
import hashlib
import http.client
import importlib.util
import time
from pathlib import Path

from deploy.envoy.render import Edge, Endpoint, render
from deploy.local.mesh import Mesh
from deploy.local.program import Program

_PACKAGE = importlib.util.find_spec("envoy")
BINARY = Path(*(_PACKAGE.submodule_search_locations or () if _PACKAGE else ()), "_bin", "envoy")
"""The real binary: the script in bin/ would stand between the supervisor's signals and it."""

DRAIN_SECONDS = 5


def configuration(mesh: Mesh) -> Path:
    """The rendered file."""
    return mesh.state / "envoy" / "envoy.yaml"


def prepare(mesh: Mesh) -> None:
    """Renders the configuration."""
    ports = mesh.ports
    render(
        Edge.from_environment(
            mesh.environment,
            listen=Endpoint("127.0.0.1", ports.edge.number),
            admin=Endpoint("127.0.0.1", ports.envoy_admin.number),
            schedulers=[Endpoint("127.0.0.1", ports.scheduler_grpc(n).number) for n in range(mesh.schedulers)],
            gateways=[Endpoint("127.0.0.1", ports.gateway_grpc(n).number) for n in range(mesh.gateways)],
            gateways_http=[Endpoint("127.0.0.1", ports.gateway_http(n).number) for n in range(mesh.gateways)],
        ),
        configuration(mesh).parent,
    )


def program(mesh: Mesh) -> Program:
    """Hot restart is off: it needs a base id of its own per Envoy on a machine, and nobody uses it here."""
    digest = hashlib.sha256()
    for path in sorted(configuration(mesh).parent.iterdir()):
        digest.update(path.read_bytes())
    return Program(
        name="envoy",
        role="edge",
        command=[
            *(str(BINARY), "-c", str(configuration(mesh)), "--disable-hot-restart", "--log-level", "warning"),
            *("--drain-time-s", str(DRAIN_SECONDS), "--drain-strategy", "immediate"),
        ],
        environment={"SENTINEL_CONFIGURATION": digest.hexdigest()[:12]},
        priority=900,
    )


def reaches_everybody(mesh: Mesh) -> str | None:
    """None once Envoy has found every process behind it healthy, else who is missing.

    Processes answer before Envoy has asked them again, and until then it would refuse calls.
    """
    expected = {"scheduler": mesh.schedulers, "gateway": mesh.gateways, "gateway_http": mesh.gateways}
    try:
        text = _admin(mesh, "GET", "/stats?filter=^cluster.[a-z_]*.membership_healthy$")
    except (OSError, http.client.HTTPException) as error:
        return f"Envoy's admin listener: {error}"
    found = dict(line.split(": ") for line in text.splitlines() if ": " in line)
    for cluster, wanted in expected.items():
        healthy = int(found.get(f"cluster.{cluster}.membership_healthy", 0))
        if healthy < wanted:
            return f"Envoy finds {healthy} of {wanted} healthy behind {cluster}"
    return None


def drain(mesh: Mesh) -> None:
    """Lets calls under way end. Envoy's own answer to SIGTERM is to cut all of them."""
    with contextlib.suppress(OSError, http.client.HTTPException):
        _admin(mesh, "POST", "/healthcheck/fail")
        _admin(mesh, "POST", "/drain_listeners?graceful&skip_exit")
        deadline = time.monotonic() + DRAIN_SECONDS
        while time.monotonic() < deadline and _active_requests(mesh):
            time.sleep(0.1)


def _active_requests(mesh: Mesh) -> int:
    text = _admin(mesh, "GET", "/stats?filter=^http.edge.downstream_rq_active$")
    return int(text.rpartition(":")[2] or 0)


def _admin(mesh: Mesh, method: str, path: str) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", mesh.ports.envoy_admin.number, timeout=3)
    try:
        connection.request(method, path)
        return connection.getresponse().read().decode()
    finally:
        connection.close()
