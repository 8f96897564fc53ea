"""The mesh on one machine: comes up again after anything was killed, leaves nothing behind, meets no other."""

import base64
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console

from deploy.local import first_program, jails, postgres, processes, rabbitmq, ready
from deploy.local.mesh import ROOT, Mesh
from deploy.local.progress import Progress
from deploy.local.services import schedulers
from deploy.local.supervisor import Supervisor, render
from deploy.local.up import Bringup, Refused
from tests.mesh import RunningMesh, free_stretch


def command(mesh: RunningMesh, *words: str) -> subprocess.CompletedProcess[str]:
    """`python -m deploy.local …`, as make calls it."""
    names = ("SENTINEL_STATE_DIR", "SENTINEL_PORT_BASE", "RATE_LIMIT")
    environment = {name: mesh.mesh.environment[name] for name in names}
    return subprocess.run(
        [sys.executable, "-m", "deploy.local", *words],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=150,
    )


def listening_elsewhere(pids: set[int]) -> list[str]:
    """Listeners of these processes on anything but loopback."""
    inodes = set()
    for pid in pids:
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            try:
                target = str(descriptor.readlink())
            except OSError:
                continue
            if target.startswith("socket:["):
                inodes.add(target[8:-1])
    found = []
    v4, v6, v4_in_v6 = "0100007F", "00000000000000000000000001000000", "0000000000000000FFFF00000100007F"
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            columns = line.split()
            if columns[3] == "0A" and columns[9] in inodes and not columns[1].startswith((v4, v6, v4_in_v6)):
                found.append(columns[1])
    return found


def test_everything_listens_on_loopback_only(mesh: RunningMesh) -> None:
    pids = {process.pid for process in processes.marked(mesh.mesh.state, postgres.data(mesh.mesh))}

    assert len(pids) > 10
    assert listening_elsewhere(pids) == []


def test_a_first_program_shows_its_output_and_succeeds(mesh: RunningMesh) -> None:
    console = Console(record=True, width=120)
    first_program.run(mesh.mesh, console)

    text = console.export_text()
    for planet in ("Mercury", "Venus", "Earth", "Mars"):
        assert f"│ Hello from the sandbox, {planet}" in text
    assert "SUCCESS in" in text


def test_up_again_changes_nothing_that_runs(mesh: RunningMesh) -> None:
    before = mesh.pids()

    again = command(mesh, "up")

    assert again.returncode == 0, again.stdout
    assert mesh.pids() == before
    assert f"http://localhost:{mesh.ports.edge.number}" in again.stdout
    assert "curl -s 'http" in again.stdout


def test_the_curl_line_works_when_pasted(mesh: RunningMesh) -> None:
    printed = command(mesh, "up").stdout
    line = next(line for line in printed.splitlines() if line.startswith("curl "))

    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=True)

    assert json.loads(done.stdout)["stdout"] == "42\n"


def test_health_is_the_documented_answer_and_fails_when_a_part_is_down(mesh: RunningMesh) -> None:
    well = command(mesh, "health")
    mesh.stop("redis")
    try:
        deadline = time.monotonic() + 15
        while (ill := command(mesh, "health")).returncode == 0:
            assert time.monotonic() < deadline
    finally:
        mesh.start("redis")
        mesh.await_ready()

    assert well.returncode == 0
    assert json.loads(well.stdout) == {
        "status": "ok",
        "services": {"postgres": "ok", "rabbitmq": "ok", "redis": "ok"},
    }
    assert json.loads(ill.stdout)["status"] == "degraded"


@pytest.mark.parametrize("name", ["scheduler-0", "gateway-0", "executor-1", "envoy", "postgres", "redis", "rabbitmq"])
def test_what_is_killed_comes_back_by_itself(mesh: RunningMesh, name: str) -> None:
    pid = mesh.kill(name)
    deadline = time.monotonic() + 20
    while mesh.pids().get(name, pid) == pid:
        assert time.monotonic() < deadline
        time.sleep(0.05)

    mesh.await_ready()


def test_up_heals_a_mesh_whose_supervisor_was_killed(mesh: RunningMesh) -> None:
    keeper = int((mesh.mesh.state / "supervisord.pid").read_text())
    orphans = mesh.pids()
    os.kill(keeper, signal.SIGKILL)
    time.sleep(0.5)

    mesh.up()

    assert not [pid for pid in orphans.values() if Path(f"/proc/{pid}").exists()]
    assert set(mesh.pids()) == set(orphans)


def test_a_taken_port_is_named_with_its_purpose_and_the_variable_that_moves_it(tmp_path: Path) -> None:
    with socket.socket() as stranger:
        stranger.bind(("127.0.0.1", 0))
        stranger.listen()
        port = stranger.getsockname()[1]
        other = Mesh.from_environment(
            {"SENTINEL_STATE_DIR": str(tmp_path), "SENTINEL_PORT_BASE": "29000", "PORT": str(port)}
        )
        with pytest.raises(Refused) as refused:
            Bringup(other, _quiet()).infrastructure()

    text = str(refused.value)
    assert f"port {port} (edge: REST, gRPC, WebSocket, page) is taken by" in text
    assert f"(pid {os.getpid()})" in text
    assert "PORT=" in text
    assert not (tmp_path / "supervisord.pid").exists()


def test_a_second_mesh_on_the_ports_of_the_first_is_refused(mesh: RunningMesh, tmp_path: Path) -> None:
    environment = {**mesh.mesh.environment, "SENTINEL_STATE_DIR": str(tmp_path)}
    with pytest.raises(Refused, match="SENTINEL_PORT_BASE"):
        Bringup(Mesh.from_environment(environment), _quiet()).infrastructure()


def test_executors_know_no_password(mesh: RunningMesh) -> None:
    for name in mesh.names("executor"):
        environ = Path(f"/proc/{mesh.pids()[name]}/environ").read_bytes()
        assert b"sentinel_secret" not in environ
        assert not [word for word in (b"DATABASE_URL", b"RABBITMQ_URL", b"REDIS_URL") if word in environ]
        assert b"SCHEDULER_ADDRESS=127.0.0.1:" in environ


def test_commits_wait_for_the_disk(mesh: RunningMesh) -> None:
    """An accepted submission is a committed one."""
    query = "select current_setting('synchronous_commit'), current_setting('fsync'), current_setting('data_checksums')"
    done = subprocess.run(
        ["psql", mesh.dsn.replace("postgres://", "postgresql://"), "-Atc", query],
        capture_output=True, text=True, check=True,
    )  # fmt: skip

    assert done.stdout.strip() == "on|on|on"


def test_redis_forgets_nothing_to_make_room(mesh: RunningMesh) -> None:
    with socket.create_connection(("127.0.0.1", mesh.ports.redis.number)) as connection:
        connection.sendall(b"CONFIG GET maxmemory-policy\r\nCONFIG GET appendonly\r\nQUIT\r\n")
        answer = b"".join(iter(lambda: connection.recv(4096), b""))

    assert b"noeviction" in answer
    assert b"yes" in answer


def test_the_management_page_takes_the_documented_password(mesh: RunningMesh) -> None:

    connection = http.client.HTTPConnection("127.0.0.1", mesh.ports.rabbitmq_management.number, timeout=5)
    token = base64.b64encode(b"sentinel:sentinel_secret").decode()
    connection.request("GET", "/api/whoami", headers={"Authorization": f"Basic {token}"})
    answer = json.loads(connection.getresponse().read())
    connection.close()

    assert answer["name"] == "sentinel"
    assert "administrator" in answer["tags"]


def test_every_replica_has_ports_of_its_own() -> None:
    mesh = Mesh.from_environment({"SCHEDULERS": "5", "GATEWAYS": "5", "EXECUTORS": "7"})
    numbers = [port.number for port in mesh.ports.infrastructure()]
    numbers += [port.number for port in mesh.ports.services(5, 5, 7)]

    assert len(numbers) == len(set(numbers))
    assert mesh.ports.edge.number == 8080
    assert mesh.ports.rabbitmq_management.number == 15672


def test_executors_together_have_one_slot_more_than_there_are_cores() -> None:
    cores = len(os.sched_getaffinity(0))
    for executors in (1, 2, 3, 100):
        slots = Mesh.from_environment({"EXECUTORS": str(executors)}).pool_size
        assert slots * executors >= cores + 1
        assert slots == 1 or (slots - 1) * executors < cores + 1


@pytest.mark.parametrize(("variable", "value"), [("SCHEDULERS", "two"), ("SENTINEL_PORT_BASE", "80")])
def test_a_setting_that_cannot_be_is_refused_by_name(variable: str, value: str) -> None:
    with pytest.raises(ValueError, match=variable):
        Mesh.from_environment({variable: value})


def test_values_reach_a_program_unharmed_or_not_at_all(tmp_path: Path) -> None:
    mesh = Mesh.from_environment({"SENTINEL_STATE_DIR": str(tmp_path), "LOG_LEVEL": "50%d"})

    assert 'LOG_LEVEL="50%%d"' in render(mesh, tmp_path / "s", schedulers(mesh))
    broken = Mesh.from_environment({"SENTINEL_STATE_DIR": str(tmp_path), "LOG_LEVEL": 'a"b'})
    with pytest.raises(ValueError, match="LOG_LEVEL"):
        render(broken, tmp_path / "s", schedulers(broken))


def test_nothing_answers_where_nothing_runs(tmp_path: Path) -> None:
    mesh = Mesh.from_environment(free_stretch(tmp_path))

    assert ready.redis_answers(mesh)
    assert ready.rabbitmq_answers(mesh)
    assert not Supervisor(mesh).answers()
    assert processes.marked(mesh.state, postgres.data(mesh)) == []
    assert list(jails.groups(mesh)) == []
    assert rabbitmq.environment(mesh)["ERL_EPMD_ADDRESS"] == "127.0.0.1"


def _quiet() -> Progress:
    return Progress(Console(quiet=True))
