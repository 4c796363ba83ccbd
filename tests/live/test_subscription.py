"""A subscription is known to work, or the reason why not is told."""

import json
import os
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from live.staging import (
    DEADLINE,
    KERNEL,
    events_until,
    name_kept,
    plain_socket,
    program,
    request,
    rest_of,
    run,
    serials_of,
    set_serials,
    wait_until_blocked,
)
from procconn import Comm, EventMask, ProcConnector, UnsupportedError, decode

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="takes root")

NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")

NAMESPACES = {
    "network": (("unshare", "--net"), "network namespace", "--net=host"),
    "pid": (("unshare", "--pid", "--fork"), "pid namespace", "--pid=host"),
    "user": (
        ("unshare", "--user", "--map-root-user"),
        "user namespace",
        "--userns=host",
    ),
}
namespaces = pytest.mark.parametrize(
    ("command", "cause", "remedy"), NAMESPACES.values(), ids=NAMESPACES
)

OPEN = """
import json, time
from procconn import ProcConnector
started = time.monotonic()
try:
    ProcConnector()
    error = None
except OSError as caught:
    error = type(caught).__name__, caught.errno, str(caught)
print(json.dumps([error, time.monotonic() - started]))
"""


@pytest.fixture(autouse=True)
def _own_name() -> Iterator[None]:
    with name_kept():
        yield


@as_root
@namespaces
def test_another_namespace_is_named_with_the_remedy(
    command: tuple[str, ...], cause: str, remedy: str
) -> None:
    result = run(*command, sys.executable, "-c", OPEN)
    (kind, number, text), seconds = json.loads(result.stdout)

    assert "UnsupportedError" == kind
    assert number
    assert cause in text
    assert remedy in text
    assert [] == [
        other
        for _, other_cause, other in NAMESPACES.values()
        if other_cause != cause and (other_cause in text or other in text)
    ]
    assert seconds < 5 * 1.0  # the timeout


@as_root
@namespaces
def test_the_command_tells_it_in_one_line(
    command: tuple[str, ...], cause: str, remedy: str
) -> None:
    result = run(*command, sys.executable, "-m", "procconn", "watch", "--count", "1")

    assert (2, "") == (result.returncode, result.stdout)
    assert 1 == len(result.stderr.splitlines())
    assert result.stderr.startswith("procconn: ")
    assert cause in result.stderr
    assert remedy in result.stderr


def test_no_answer_in_time_is_an_error_that_names_the_timeout() -> None:
    with pytest.raises(UnsupportedError, match="timeout"):
        ProcConnector(timeout=1e-9)


AS_NOBODY = """
import json, os, sys, warnings
from procconn import EventMask, ProcConnector
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    with ProcConnector(EventMask.EXIT, receive_buffer=int(sys.argv[1])) as connector:
        granted = connector.receive_buffer
        child = os.posix_spawn("/bin/true", ["true"], {})
        seen = any(event.pid == child for event in connector)
print(json.dumps([granted, seen, [str(warning.message) for warning in caught]]))
"""


def rmem_max() -> int:
    with open("/proc/sys/net/core/rmem_max") as file:
        return int(file.read())


as_nobody = pytest.mark.skipif(
    KERNEL < (6, 6) or os.geteuid() != 0,
    reason="takes root to become nobody, and a kernel that serves nobody: 6.6",
)


@as_nobody
def test_nobody_gets_events_and_one_warning_about_the_smaller_buffer() -> None:
    most = rmem_max()
    result = run(*NOBODY, sys.executable, "-c", AS_NOBODY, str(most + 1))
    granted, seen, warned = json.loads(result.stdout)

    assert "" == result.stderr
    assert most == granted
    assert seen
    (text,) = warned
    assert f"is {most} bytes, not {most + 1}" in text
    assert "net.core.rmem_max" in text
    assert "CAP_NET_ADMIN" in text


@as_nobody
def test_nobody_gets_no_warning_who_asks_for_what_is_allowed() -> None:
    most = rmem_max()
    result = run(*NOBODY, sys.executable, "-c", AS_NOBODY, str(most))

    assert [most, True, []] == json.loads(result.stdout)


@as_root
def test_root_gets_more_than_rmem_max() -> None:
    size = rmem_max() + 1_000_000
    with ProcConnector(receive_buffer=size) as connector:
        assert size == connector.receive_buffer


def test_answers_to_other_programs_are_no_events_and_not_ours() -> None:
    """Connectors open and read while others ask as fast as they can."""
    with program("ask"), program("ask"):
        for _ in range(20):
            with ProcConnector(EventMask.COMM) as connector:
                set_serials(range(5))
                events = rest_of(connector)

            assert list(range(5)) == serials_of(events)
            assert {Comm} == {type(event) for event in events}


@pytest.mark.parametrize("mask", [EventMask.ALL, EventMask.COMM])
def test_answers_to_other_programs_are_not_in_raw_buffers(mask: EventMask) -> None:
    with ProcConnector(mask) as connector, plain_socket() as other:
        other.sendto(request(1), (0, 0))
        other.sendto(request(2), (0, 0))
        set_serials(range(1))
        raw = b""
        while part := connector.recv_raw(timeout=0):
            raw += part

    kinds = {raw[at + 36 : at + 40] for at in range(0, len(raw), 76)}
    assert bytes(4) not in kinds


def test_answers_to_other_programs_are_not_counted_as_lost_events() -> None:
    with (
        ProcConnector(EventMask.NONE, receive_buffer=2304) as connector,
        plain_socket() as other,
    ):
        for _ in range(200):
            other.sendto(request(1), (0, 0))
            other.sendto(request(2), (0, 0))

        assert 0 == connector.lost
        assert [] == rest_of(connector)


def test_others_that_come_and_go_leave_our_subscription_alone() -> None:
    with ProcConnector(EventMask.COMM) as connector:
        for serial in range(20):
            with ProcConnector(), plain_socket() as other:
                other.sendto(request(1), (0, 0))
                set_serials(range(serial, serial + 1))
                other.sendto(request(2), (0, 0))
        events = rest_of(connector)

    assert list(range(20)) == serials_of(events)


def test_nothing_comes_after_unsubscribe_but_what_was_queued() -> None:
    with ProcConnector(EventMask.COMM) as connector:
        set_serials(range(3))
        connector.unsubscribe()
        set_serials(range(3, 6))
        connector.unsubscribe()
        events = rest_of(connector)

    assert [0, 1, 2] == serials_of(events)


def test_subscribing_again_brings_what_happens_from_then_on() -> None:
    with ProcConnector(EventMask.COMM) as connector:
        connector.unsubscribe()
        set_serials(range(3))
        connector.subscribe()
        set_serials(range(3, 6))
        events = rest_of(connector)

    assert [3, 4, 5] == serials_of(events)


def test_subscribing_while_a_thread_is_blocked_reading_wakes_it_with_the_new_kind() -> (
    None
):
    with ProcConnector(EventMask.NONE) as connector:
        found: list[int] = []
        own = threading.get_native_id()

        def read() -> None:
            events = events_until(connector, lambda e: serials_of([e], own) == [2])
            found.extend(serials_of(events, own))

        reader = threading.Thread(target=read)
        reader.start()
        wait_until_blocked(reader)
        connector.subscribe(EventMask.COMM)
        set_serials(range(3))
        reader.join(DEADLINE)

    assert [0, 1, 2] == found


@pytest.mark.parametrize("way", ["recv", "recv_many", "for"])
def test_subscribing_again_and_again_does_not_disturb_a_reader(way: str) -> None:
    """The reader is refused nothing, gets nothing twice and misses nothing."""
    count = 20_000
    own = threading.get_native_id()
    results: list[object] = []

    def read(connector: ProcConnector) -> Iterator[object]:
        if way == "for":
            yield from connector
        while True:
            if way == "recv":
                yield connector.recv()
            yield from connector.recv_many()

    def target() -> None:
        serials: list[int] = []
        try:
            for event in read(connector):
                assert event is not None
                serials += serials_of([event], own)  # type: ignore[list-item]
                if serials and serials[-1] == count - 1:
                    break
        except Exception as error:
            results.append(error)
        results.append(serials)

    with ProcConnector(EventMask.COMM) as connector:
        reader = threading.Thread(target=target)
        reader.start()
        serial = 0
        deadline = time.monotonic() + DEADLINE
        while reader.is_alive() and time.monotonic() < deadline:
            following = min(serial + 100, count)
            set_serials(range(serial, following))
            serial = following
            connector.subscribe(EventMask.COMM | (EventMask.SID if serial % 200 else 0))
        connector.close()
        reader.join(DEADLINE)

    assert [list(range(count))] == results


@pytest.mark.parametrize("way", ["recv", "recv_many", "recv_raw", "for"])
def test_a_reader_that_comes_while_another_thread_subscribes_is_not_refused(
    way: str,
) -> None:
    with ProcConnector(EventMask.COMM) as connector:
        set_serials(range(10))
        connector.recv()  # leaves some pending, for subscribe() to look through
        at_work, go_on = threading.Event(), threading.Event()
        screen = connector._source.screen

        def slow_screen(raw: bytes) -> bytes:
            at_work.set()
            go_on.wait(DEADLINE)
            return screen(raw)

        connector._source.screen = slow_screen  # type: ignore[method-assign,assignment]
        subscriber = threading.Thread(target=connector.subscribe)
        subscriber.start()
        at_work.wait(DEADLINE)
        threading.Timer(0.1, go_on.set).start()
        try:
            if way == "for":
                events = [next(iter(connector))]
            elif way == "recv_raw":
                events = decode(connector.recv_raw(DEADLINE))
            elif way == "recv":
                events = [e for e in [connector.recv(DEADLINE)] if e]
            else:
                events = connector.recv_many(DEADLINE)
        finally:
            go_on.set()
            subscriber.join(DEADLINE)

    assert events
