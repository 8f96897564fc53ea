"""Empty networks that jails take turns in."""

import socket
import threading
from pathlib import Path

import pytest

from services.executor.sandbox.networks import Networks
from services.executor.sandbox.protocol import SandboxError


def here() -> str:
    """The network of this thread."""
    return str(Path("/proc/thread-self/ns/net").readlink())


@pytest.fixture
def networks() -> Networks:
    return Networks(2)


def test_each_is_another_and_the_thread_is_back_where_it_was(networks: Networks) -> None:
    ours, seen = here(), set()
    for network in (networks.take(), networks.take()):
        with network.entered():
            seen.add(here())
        assert here() == ours
    assert len(seen) == 2
    assert ours not in seen
    networks.close()


def test_none_is_lent_twice_and_one_that_came_back_is_lent_again(networks: Networks) -> None:
    lent = [networks.take(), networks.take()]
    with pytest.raises(SandboxError):
        networks.take()
    networks.give_back(lent[0])
    assert networks.take() is lent[0]
    networks.close()


def test_nothing_answers_in_it_that_answers_outside(networks: Networks) -> None:
    """The control: the same connect, by the same thread, outside."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        socket.create_connection(listener.getsockname()).close()
        with networks.take().entered(), pytest.raises(OSError, match="unreachable"):
            socket.create_connection(listener.getsockname())
    networks.close()


def test_threads_from_before_are_not_moved(networks: Networks) -> None:
    ours, entered, looked = here(), threading.Event(), threading.Event()
    seen: list[str] = []

    def look() -> None:
        entered.wait(10)
        seen.append(here())
        looked.set()

    thread = threading.Thread(target=look)
    thread.start()
    with networks.take().entered():
        entered.set()
        looked.wait(10)
    thread.join()
    assert seen == [ours]
    networks.close()
