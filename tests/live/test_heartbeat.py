"""The liveness check of a silent subscription, whose own events are hidden."""

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
def _own_name() -> Iterator[None]:
    with preserve_name():
        set_name(b"heart")
        yield


def set_membership(connector: ProcConnector, option: int) -> None:
    """Take the socket out of the multicast group, or bring it back.

    Out of it nothing arrives: what a subscription looks like that somebody else has
    ended. Others that listen on this machine keep the real thing from being staged.
    """
    with socket.socket(fileno=os.dup(event_socket(connector))) as same:
        same.setsockopt(SOL_NETLINK, option, PROC_EVENTS)


def probes(witness: ProcConnector, pid: int) -> list[Comm]:
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
    return by_polls_of(connector, HEARTBEAT / 5)


def by_polls(connector: ProcConnector) -> Event | None:
    return by_polls_of(connector, 0)


def by_polls_of(connector: ProcConnector, timeout: float) -> Event | None:
    deadline = time.monotonic() + DEADLINE / 4
    while time.monotonic() < deadline:
        if event := connector.recv(timeout):
            return event
    return None


def up_to_loss(
    connector: ProcConnector, way: Callable[[ProcConnector], Event | None] = by_recv
) -> Event | None:
    """Read the events before the subscription was lost, and then the report of that."""
    event = way(connector)
    while isinstance(event, Comm):
        event = way(connector)
    return event


@pytest.mark.parametrize(
    "way", [by_recv, by_recv_many, by_for, by_async_for, by_short_calls, by_polls]
)
@pytest.mark.parametrize("mask", [EventMask.NONE, EventMask.COMM])
def test_a_dead_subscription_is_noticed_and_told(
    mask: EventMask, way: Callable[[ProcConnector], Event | None]
) -> None:
    with ProcConnector(mask, heartbeat=HEARTBEAT) as connector:
        before = time.monotonic_ns()
        set_membership(connector, DROP_MEMBERSHIP)
        with pytest.warns(RuntimeWarning, match="renewed"):
            event = up_to_loss(connector, way)

        assert isinstance(event, Lost)
        assert 0 == event.count
        assert before <= event.timestamp_ns <= time.monotonic_ns()
        assert 0 == connector.lost


def test_the_stream_goes_on_after_a_death() -> None:
    with ProcConnector(EventMask.COMM, heartbeat=HEARTBEAT) as connector:
        set_membership(connector, DROP_MEMBERSHIP)
        with pytest.warns(RuntimeWarning, match="renewed"):
            up_to_loss(connector)
        set_membership(connector, ADD_MEMBERSHIP)
        set_serials(range(3))
        events = drain(connector)

    assert [0, 1, 2] == serials_of(events)


@pytest.mark.skipif(os.geteuid() != 0, reason="takes root")
def test_after_a_failed_renewal_subscribing_renews() -> None:
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
    # The first ends unasked, as the kernel has forgotten it; the second comes nowhere,
    # as does what takes it back.
    assert [LISTEN, LISTEN, IGNORE, LISTEN, IGNORE] == requests.all_sent


def test_a_refused_probe_is_no_alarm() -> None:
    """The sandbox is reported at the start, and the subscription does not end."""
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
    warned, seen = result.stdout.splitlines()
    assert "PR_SET_NAME" in warned
    assert 1 == warned.count("a sandbox refuses")
    assert "None 0" == seen


def test_a_refused_probe_sends_no_request() -> None:
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
    """Read back the program that a socket's datagrams have to pass."""
    program = ctypes.create_string_buffer(4096)
    count = ctypes.c_uint(4096 // 8)  # of instructions
    getsockopt = ctypes.CDLL(None).getsockopt
    arguments = (fd, socket.SOL_SOCKET, SO_GET_FILTER, program, ctypes.byref(count))
    assert getsockopt(*arguments) == 0
    return program.raw[: 8 * count.value]


def test_the_program_of_a_probe_adds_a_tasks_own_names_to_what_is_wanted() -> None:
    """It is read from the socket while it is there."""
    probing: bytes = b""
    with ProcConnector(EventMask.PTRACE, heartbeat=0.0005) as connector:
        fd = event_socket(connector)
        usual = filter_of(fd)
        reader = threading.Thread(target=lambda: list(connector))
        reader.start()
        deadline = time.monotonic() + DEADLINE
        while not probing and time.monotonic() < deadline:
            seen = filter_of(fd)
            if len(seen) != len(usual):
                probing = seen
        connector.close()
        reader.join(DEADLINE)

    own = reader.native_id
    assert own
    named = event_message(EventType.COMM, words(own, own).ljust(24, b"\0"))
    other = event_message(EventType.COMM, words(own + 1, own).ljust(24, b"\0"))
    wanted = event_message(EventType.PTRACE, words(own + 1, own).ljust(24, b"\0"))
    assert passes(probing, named)
    assert not passes(usual, named)
    assert not passes(probing, other)
    assert passes(probing, wanted)
    for kind in KINDS:
        if kind.what not in (EventType.COMM, EventType.PTRACE):
            message = event_message(kind.what, words(*[own] * 6))
            assert not passes(probing, message)


@pytest.mark.parametrize(
    "read",
    [
        lambda connector: connector.recv(DEADLINE),
        lambda connector: connector.recv_many(DEADLINE),
        lambda connector: next(iter(connector)),
    ],
    ids=["recv", "recv_many", "iteration"],
)
def test_the_warning_is_about_the_line_that_reads(read: FunctionType) -> None:
    with ProcConnector(EventMask.NONE, heartbeat=HEARTBEAT) as connector:
        set_membership(connector, DROP_MEMBERSHIP)
        with pytest.warns(RuntimeWarning, match="renewed") as caught:
            read(connector)

    where = (__file__, read.__code__.co_firstlineno)
    assert where == (caught[0].filename, caught[0].lineno)


def test_opening_shows_no_event_of_its_own() -> None:
    """Whether names are allowed is tried before anything is received."""
    with (
        ProcConnector(EventMask.COMM),  # else there are no events before the opening
        ProcConnector(EventMask.COMM, heartbeat=DEADLINE) as connector,
    ):
        assert [] == probes(connector, threading.get_native_id())


@pytest.mark.parametrize("threads", [True, False], ids=["threads", "no-threads"])
def test_a_live_subscription_is_probed_in_secret(threads: bool) -> None:
    with (
        ProcConnector(EventMask.COMM) as witness,
        ProcConnector(
            EventMask.NONE, threads=threads, heartbeat=HEARTBEAT
        ) as connector,
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("error")
        seen: list[Comm] = []
        deadline = time.monotonic() + DEADLINE
        while len(seen) < 3 and time.monotonic() < deadline:
            assert connector.recv(timeout=2 * HEARTBEAT) is None
            seen += probes(witness, threading.get_native_id())

    assert len(seen) > 2
    assert {b"heart"} == {probe.comm for probe in seen}
    assert b"heart" == get_name()


def test_a_probe_is_not_in_raw_buffers_either() -> None:
    with ProcConnector(EventMask.NONE, heartbeat=HEARTBEAT) as connector:
        assert b"" == connector.recv_raw(timeout=10 * HEARTBEAT)


def test_a_probe_is_shown_to_who_asked_for_names() -> None:
    own = threading.get_native_id()
    deadline = time.monotonic() + DEADLINE
    with ProcConnector(EventMask.COMM, heartbeat=HEARTBEAT) as connector:
        event = connector.recv(DEADLINE)
        while not (isinstance(event, Comm) and event.pid == own):
            assert time.monotonic() < deadline
            event = connector.recv(DEADLINE)

    assert b"heart" == event.comm


def test_a_probe_from_a_thread_is_not_shown_to_who_wants_no_threads() -> None:
    found: list[Event] = []
    seen: list[Comm] = []

    def read(connector: ProcConnector, witness: ProcConnector) -> None:
        deadline = time.monotonic() + DEADLINE
        while not seen and time.monotonic() < deadline:
            found.extend(connector.recv_many(HEARTBEAT))
            seen.extend(probes(witness, threading.get_native_id()))

    with (
        ProcConnector(EventMask.COMM) as witness,
        ProcConnector(EventMask.COMM, threads=False, heartbeat=HEARTBEAT) as connector,
    ):
        thread = threading.Thread(target=read, args=(connector, witness))
        thread.start()
        thread.join()
        found += drain(connector)

    assert seen
    assert [] == [e for e in found if isinstance(e, Comm) and e.pid == thread.native_id]


def test_who_unsubscribed_is_not_probed() -> None:
    with (
        ProcConnector(EventMask.COMM) as witness,
        ProcConnector(heartbeat=HEARTBEAT) as connector,
    ):
        connector.unsubscribe()
        drain(connector)
        drain(witness)
        event = connector.recv(timeout=10 * HEARTBEAT)
        seen = probes(witness, threading.get_native_id())

    assert event is None
    assert [] == seen


def test_a_probe_hides_no_event_that_comes_with_it() -> None:
    count = 2000
    own = threading.get_native_id()
    with ProcConnector(EventMask.COMM, threads=False, heartbeat=0.001) as connector:
        found: list[int] = []

        def read() -> None:
            while not found or found[-1] != count - 1:
                found.extend(serials_of(connector.recv_many(DEADLINE), own))

        reader = threading.Thread(target=read)
        reader.start()
        for serial in range(count):
            set_name(b"%d" % serial)
            time.sleep(0.0005)
        reader.join(DEADLINE)

    assert list(range(count)) == found


def test_a_busy_stream_is_not_probed() -> None:
    with (
        ProcConnector(EventMask.COMM) as witness,
        ProcConnector(EventMask.COMM, heartbeat=DEADLINE) as connector,
    ):
        set_serials(range(100))
        events = decode(connector.recv_raw(timeout=0))
        connector.recv(timeout=0.2)

        assert list(range(100)) == serials_of(events)
        assert list(range(100)) == serials_of(
            list(probes(witness, threading.get_native_id()))
        )
