"""The liveness check of an idle subscription, and the COMM events that it causes."""

import asyncio
import ctypes
import os
import socket
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from types import FunctionType

import pytest
from support.bpf import passes
from support.builders import event_message, words
from support.live import (
    DEADLINE,
    drain,
    get_name,
    preserve_name,
    serials_of,
    set_name,
    set_serials,
)
from support.sandbox import NO_NAMES, run_sandboxed
from support.sockets import event_socket
from support.strace import IGNORE, LISTEN, Requests
from support.subprocesses import PROGRAMS

from procconn import (
    Comm,
    Event,
    EventMask,
    EventType,
    Lost,
    ProcConnector,
    decode,
)
from procconn.events import KINDS

SOL_NETLINK, DROP_MEMBERSHIP, ADD_MEMBERSHIP = 270, 2, 1
PROC_EVENTS = 1
SO_GET_FILTER = 26  # asm-generic/socket.h

HEARTBEAT = 0.05


@pytest.fixture(autouse=True)
def _restore_name() -> Iterator[None]:
    with preserve_name():
        set_name(b"heart")
        yield


def set_membership(connector: ProcConnector, option: int) -> None:
    """Drop or add the socket's membership of the multicast group.

    Without it no event arrives, as if another program had ended the subscription. Other
    listeners on this machine make it impossible to end the subscription itself.
    """
    with socket.socket(fileno=os.dup(event_socket(connector))) as same:
        same.setsockopt(SOL_NETLINK, option, PROC_EVENTS)


def checks_of(witness: ProcConnector, pid: int) -> list[Comm]:
    """Return the COMM events that liveness checks of a thread have caused."""
    return [
        event
        for event in drain(witness)
        if isinstance(event, Comm) and event.pid == pid
    ]


def by_recv(connector: ProcConnector) -> Event | None:
    return connector.recv(DEADLINE)


def by_recv_many(connector: ProcConnector) -> Event | None:
    return connector.recv_many(DEADLINE)[0]


def by_for(connector: ProcConnector) -> Event | None:
    return next(iter(connector))


def by_async_for(connector: ProcConnector) -> Event | None:
    async def first() -> Event:
        return await anext(aiter(connector))

    return asyncio.run(asyncio.wait_for(first(), DEADLINE / 4))


def by_short_calls(connector: ProcConnector) -> Event | None:
    return by_calls(connector, HEARTBEAT / 5)


def by_polls(connector: ProcConnector) -> Event | None:
    return by_calls(connector, 0)


def by_calls(connector: ProcConnector, timeout: float) -> Event | None:
    deadline = time.monotonic() + DEADLINE / 4
    while time.monotonic() < deadline:
        if event := connector.recv(timeout):
            return event
    return None


def read_loss(
    connector: ProcConnector, read: Callable[[ProcConnector], Event | None] = by_recv
) -> Event | None:
    """Return the first event that is not a COMM event."""
    event = read(connector)
    while isinstance(event, Comm):
        event = read(connector)
    return event


@pytest.mark.parametrize(
    "read", [by_recv, by_recv_many, by_for, by_async_for, by_short_calls, by_polls]
)
@pytest.mark.parametrize("mask", [EventMask.NONE, EventMask.COMM])
def test_stale_subscription_is_renewed_with_lost_and_warning(
    mask: EventMask, read: Callable[[ProcConnector], Event | None]
) -> None:
    with ProcConnector(mask, heartbeat=HEARTBEAT) as connector:
        before = time.monotonic_ns()
        set_membership(connector, DROP_MEMBERSHIP)
        with pytest.warns(RuntimeWarning, match="renewed"):
            event = read_loss(connector, read)

        assert isinstance(event, Lost)
        assert 0 == event.count
        assert before <= event.timestamp_ns <= time.monotonic_ns()
        assert 0 == connector.lost


def test_stream_continues_after_renewal() -> None:
    with ProcConnector(EventMask.COMM, heartbeat=HEARTBEAT) as connector:
        set_membership(connector, DROP_MEMBERSHIP)
        with pytest.warns(RuntimeWarning, match="renewed"):
            read_loss(connector)
        set_membership(connector, ADD_MEMBERSHIP)
        set_serials(range(3))
        events = drain(connector)

    assert [0, 1, 2] == serials_of(events)


@pytest.mark.skipif(os.geteuid() != 0, reason="requires root")
def test_subscribe_renews_after_a_failed_renewal() -> None:
    requests = Requests(f"""
import sys
sys.path.insert(0, {str(PROGRAMS.parents[1])!r})
from support.live import DEADLINE
from support.sockets import empty_network_namespace
from live.test_heartbeat import DROP_MEMBERSHIP, HEARTBEAT, set_membership
from procconn import EventMask, ProcConnector, UnsupportedError

with ProcConnector(EventMask.NONE, heartbeat=HEARTBEAT) as connector:
    set_membership(connector, DROP_MEMBERSHIP)
    with empty_network_namespace():
        try:
            connector.recv(DEADLINE)
        except UnsupportedError:
            print("failed")
    connector.subscribe()
""")

    assert ("failed\n", "") == (requests.result.stdout, requests.result.stderr)
    # No IGNORE for the first LISTEN: that subscription is gone. The second LISTEN and
    # its IGNORE go to a network namespace that does not receive them.
    assert [LISTEN, LISTEN, IGNORE, LISTEN, IGNORE] == requests.all_sent


def test_refused_check_does_not_renew_the_subscription() -> None:
    """The constructor warns that a sandbox refuses PR_SET_NAME."""
    code = f"""
import warnings
from procconn import EventMask, ProcConnector
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    connector = ProcConnector(EventMask.NONE, heartbeat={HEARTBEAT})
    print([str(warning.message) for warning in caught])
with connector:
    warnings.simplefilter("error")
    print(connector.recv({10 * HEARTBEAT}), connector.lost)
"""
    result = run_sandboxed(NO_NAMES, "-c", code)

    assert (0, "") == (result.returncode, result.stderr)
    warned, received = result.stdout.splitlines()
    assert "PR_SET_NAME" in warned
    assert 1 == warned.count("a sandbox blocks")
    assert "None 0" == received


def test_refused_check_sends_no_request() -> None:
    code = f"""
import warnings
from procconn import EventMask, ProcConnector
warnings.simplefilter("ignore")
with ProcConnector(EventMask.NONE, heartbeat={HEARTBEAT}) as connector:
    connector.recv({10 * HEARTBEAT})
"""
    requests = Requests(code, refusal=NO_NAMES)

    assert (0, "") == (requests.result.returncode, requests.result.stderr)
    assert [LISTEN, IGNORE] == requests.all_sent


def filter_of(fd: int) -> bytes:
    """Return the BPF program attached to a socket."""
    program = ctypes.create_string_buffer(4096)
    count = ctypes.c_uint(4096 // 8)  # of instructions
    getsockopt = ctypes.CDLL(None).getsockopt
    arguments = (fd, socket.SOL_SOCKET, SO_GET_FILTER, program, ctypes.byref(count))
    assert getsockopt(*arguments) == 0
    return program.raw[: 8 * count.value]


def test_filter_of_a_check_adds_comm_events_of_the_own_task() -> None:
    """The test reads the BPF program back from the socket during a check."""
    checking: bytes = b""
    with ProcConnector(EventMask.PTRACE, heartbeat=0.0005) as connector:
        fd = event_socket(connector)
        usual = filter_of(fd)
        reader = threading.Thread(target=lambda: list(connector))
        reader.start()
        deadline = time.monotonic() + DEADLINE
        while not checking and time.monotonic() < deadline:
            current = filter_of(fd)
            if len(current) != len(usual):
                checking = current
        connector.close()
        reader.join(DEADLINE)

    own = reader.native_id
    assert own
    named = event_message(EventType.COMM, words(own, own).ljust(24, b"\0"))
    other = event_message(EventType.COMM, words(own + 1, own).ljust(24, b"\0"))
    selected = event_message(EventType.PTRACE, words(own + 1, own).ljust(24, b"\0"))
    assert passes(checking, named)
    assert not passes(usual, named)
    assert not passes(checking, other)
    assert passes(checking, selected)
    for kind in KINDS:
        if kind.what not in (EventType.COMM, EventType.PTRACE):
            message = event_message(kind.what, words(*[own] * 6))
            assert not passes(checking, message)


@pytest.mark.parametrize(
    "read",
    [
        lambda connector: connector.recv(DEADLINE),
        lambda connector: connector.recv_many(DEADLINE),
        lambda connector: next(iter(connector)),
    ],
    ids=["recv", "recv_many", "iteration"],
)
def test_warning_has_the_line_of_the_reading_call(read: FunctionType) -> None:
    with ProcConnector(EventMask.NONE, heartbeat=HEARTBEAT) as connector:
        set_membership(connector, DROP_MEMBERSHIP)
        with pytest.warns(RuntimeWarning, match="renewed") as caught:
            read(connector)

    expected = (__file__, read.__code__.co_firstlineno)
    assert expected == (caught[0].filename, caught[0].lineno)


def test_constructor_delivers_no_comm_event_of_its_own() -> None:
    """The constructor tests whether PR_SET_NAME is allowed before it subscribes."""
    with (
        ProcConnector(EventMask.COMM),  # makes the kernel send events beforehand
        ProcConnector(EventMask.COMM, heartbeat=DEADLINE) as connector,
    ):
        assert [] == checks_of(connector, threading.get_native_id())


@pytest.mark.parametrize("threads", [True, False], ids=["threads", "no-threads"])
def test_check_of_a_live_subscription_is_hidden_from_its_reader(threads: bool) -> None:
    with (
        ProcConnector(EventMask.COMM) as witness,
        ProcConnector(
            EventMask.NONE, threads=threads, heartbeat=HEARTBEAT
        ) as connector,
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("error")
        checks: list[Comm] = []
        deadline = time.monotonic() + DEADLINE
        while len(checks) < 3 and time.monotonic() < deadline:
            assert connector.recv(timeout=2 * HEARTBEAT) is None
            checks += checks_of(witness, threading.get_native_id())

    assert len(checks) > 2
    assert {b"heart"} == {check.comm for check in checks}
    assert b"heart" == get_name()


def test_check_is_not_in_raw_buffers() -> None:
    with ProcConnector(EventMask.NONE, heartbeat=HEARTBEAT) as connector:
        assert b"" == connector.recv_raw(timeout=10 * HEARTBEAT)


def test_check_is_delivered_if_the_mask_has_comm() -> None:
    own = threading.get_native_id()
    deadline = time.monotonic() + DEADLINE
    with ProcConnector(EventMask.COMM, heartbeat=HEARTBEAT) as connector:
        event = connector.recv(DEADLINE)
        while not (isinstance(event, Comm) and event.pid == own):
            assert time.monotonic() < deadline
            event = connector.recv(DEADLINE)

    assert b"heart" == event.comm


def test_check_in_a_thread_is_hidden_if_threads_is_false() -> None:
    events: list[Event] = []
    checks: list[Comm] = []

    def read(connector: ProcConnector, witness: ProcConnector) -> None:
        deadline = time.monotonic() + DEADLINE
        while not checks and time.monotonic() < deadline:
            events.extend(connector.recv_many(HEARTBEAT))
            checks.extend(checks_of(witness, threading.get_native_id()))

    with (
        ProcConnector(EventMask.COMM) as witness,
        ProcConnector(EventMask.COMM, threads=False, heartbeat=HEARTBEAT) as connector,
    ):
        thread = threading.Thread(target=read, args=(connector, witness))
        thread.start()
        thread.join()
        events += drain(connector)

    assert checks
    assert [] == [
        e for e in events if isinstance(e, Comm) and e.pid == thread.native_id
    ]


def test_unsubscribed_connector_makes_no_check() -> None:
    with (
        ProcConnector(EventMask.COMM) as witness,
        ProcConnector(heartbeat=HEARTBEAT) as connector,
    ):
        connector.unsubscribe()
        drain(connector)
        drain(witness)
        event = connector.recv(timeout=10 * HEARTBEAT)
        checks = checks_of(witness, threading.get_native_id())

    assert event is None
    assert [] == checks


def test_check_hides_no_other_event() -> None:
    count = 2000
    own = threading.get_native_id()
    with ProcConnector(EventMask.COMM, threads=False, heartbeat=0.001) as connector:
        serials: list[int] = []

        def read() -> None:
            while not serials or serials[-1] != count - 1:
                serials.extend(serials_of(connector.recv_many(DEADLINE), own))

        reader = threading.Thread(target=read)
        reader.start()
        for serial in range(count):
            set_name(b"%d" % serial)
            time.sleep(0.0005)
        reader.join(DEADLINE)

    assert list(range(count)) == serials


def test_busy_stream_makes_no_check() -> None:
    with (
        ProcConnector(EventMask.COMM) as witness,
        ProcConnector(EventMask.COMM, heartbeat=DEADLINE) as connector,
    ):
        set_serials(range(100))
        events = decode(connector.recv_raw(timeout=0))
        connector.recv(timeout=0.2)

        assert list(range(100)) == serials_of(events)
        assert list(range(100)) == serials_of(
            list(checks_of(witness, threading.get_native_id()))
        )
