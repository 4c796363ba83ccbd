"""Read modes: each delivers every event once, in order and in time."""

import asyncio
import gc
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import islice, product
from types import FrameType
from typing import Self

import pytest
from support.blocking import is_iterating, wait_until_blocked
from support.live import (
    DEADLINE,
    drain,
    lost_count,
    preserve_name,
    serials_of,
    set_name,
    set_serials,
    wait_for,
)
from support.machine import requires_capacity, survives_failed_allocations
from support.read_modes import ReadMode
from support.signals import alarm
from support.single_reads import BLOCKING, one_by_for
from support.sockets import event_socket
from support.subprocesses import program, run_python, started

from procconn import (
    BufferTooSmallError,
    Comm,
    Event,
    EventMask,
    Exit,
    ProcConnector,
    Sid,
    Uid,
    decode,
)

EVENT_BYTES = 76
SO_MEMINFO = 55  # asm-generic/socket.h


@pytest.fixture(autouse=True)
def _restore_name() -> Iterator[None]:
    with preserve_name():
        yield


@pytest.fixture
def names() -> Iterator[ProcConnector]:
    """Open a connector for COMM events."""
    with ProcConnector(EventMask.COMM) as connector:
        yield connector


def by_recv(connector: ProcConnector) -> list[Event]:
    event = connector.recv(timeout=0)
    return [] if event is None else [event]


def by_recv_many(connector: ProcConnector) -> list[Event]:
    return connector.recv_many(timeout=0)


def by_recv_raw(connector: ProcConnector) -> list[Event]:
    return decode(connector.recv_raw(timeout=0))


def by_recv_into(connector: ProcConnector) -> list[Event]:
    buffer = bytearray(2 * EVENT_BYTES + 50)
    return decode(buffer[: connector.recv_into(buffer, timeout=0)])


def by_for(connector: ProcConnector) -> list[Event]:
    return list(islice(connector, 3))


def by_async_for(connector: ProcConnector) -> list[Event]:
    async def read() -> list[Event]:
        events = []
        async for event in connector:
            events.append(event)
            if len(events) == 3:
                break
        return events

    return asyncio.run(read())


def by_subscribe(connector: ProcConnector) -> list[Event]:
    connector.subscribe(EventMask.COMM | EventMask.SID)
    return []


RAW = [by_recv_raw, by_recv_into]
DECODING = [by_recv, by_recv_many, by_for, by_async_for]
POLLING = [by_recv, by_recv_many, by_recv_raw, by_recv_into]
READ_MODES = [*POLLING, by_for, by_async_for, by_subscribe]


@pytest.mark.parametrize("mode", POLLING)
def test_poll_delivers_queued_events(names: ProcConnector, mode: ReadMode) -> None:
    set_serials(range(50))

    events = []
    while batch := mode(names):
        events += batch

    assert list(range(50)) == serials_of(events)


@pytest.mark.parametrize("mode", [by_for, by_async_for])
def test_iteration_delivers_queued_events(names: ProcConnector, mode: ReadMode) -> None:
    set_serials(range(3))

    events: list[Event] = []
    while len(serials_of(events)) < 3:
        events += mode(names)
        set_name(b"wake up")  # the next iteration must not block

    assert [0, 1, 2] == serials_of(events)


@pytest.mark.parametrize(("first", "second"), list(product(READ_MODES, READ_MODES)))
def test_alternating_read_modes_deliver_each_event_once(
    names: ProcConnector, first: ReadMode, second: ReadMode
) -> None:
    """Decoding modes may hold pending events; raw modes continue after them."""
    decoded: list[int] = []
    raw: list[int] = []
    for mode, start in [
        (first, 0),
        (second, 10),
        (first, 20),
        (second, 30),
        (by_recv_many, 40),
    ]:
        set_serials(range(start, min(start + 10, 40)))
        (raw if mode in RAW else decoded).extend(serials_of(mode(names)))
    decoded += serials_of(drain(names))

    assert list(range(40)) == sorted(decoded + raw)
    assert sorted(decoded) == decoded
    assert sorted(raw) == raw


@pytest.mark.parametrize(("first", "second"), list(product(DECODING, DECODING)))
def test_alternating_decoding_modes_keep_the_order(
    names: ProcConnector, first: ReadMode, second: ReadMode
) -> None:
    events = []
    for start in range(0, 40, 20):
        set_serials(range(start, start + 10))
        events += first(names)
        set_serials(range(start + 10, start + 20))
        events += second(names)
    events += drain(names)

    assert list(range(40)) == serials_of(events)


@pytest.mark.parametrize(("first", "second"), list(product(RAW, RAW)))
def test_alternating_raw_modes_keep_the_order(
    names: ProcConnector, first: ReadMode, second: ReadMode
) -> None:
    events = []
    for start in range(0, 40, 20):
        set_serials(range(start, start + 10))
        events += first(names)
        set_serials(range(start + 10, start + 20))
        events += second(names)
    events += drain(names)

    assert list(range(40)) == serials_of(events)


@pytest.mark.parametrize("mode", RAW)
def test_pending_events_are_not_in_raw_buffers(
    names: ProcConnector, mode: ReadMode
) -> None:
    drain(names)
    set_serials(range(10))
    first = by_recv(names)
    set_serials(range(10, 12))
    raw = mode(names)
    pending = names.recv_many(timeout=0)

    assert [10, 11] == serials_of(raw)
    assert list(range(10)) == serials_of(first + pending)


def test_new_iteration_continues_after_the_last_event(names: ProcConnector) -> None:
    set_serials(range(100))

    events: list[Event] = []
    while len(serials_of(events)) < 100:
        for event in names:
            events.append(event)
            break

    assert list(range(100)) == serials_of(events)


@pytest.mark.parametrize("mode", POLLING)
def test_poll_of_an_empty_queue_returns_at_once(mode: ReadMode) -> None:
    with ProcConnector(EventMask.NONE, max_latency=DEADLINE) as connector:
        started = time.monotonic()
        events = mode(connector)

    assert [] == events
    assert time.monotonic() - started < DEADLINE / 2


def test_datagram_stays_queued_if_the_buffer_is_too_small(names: ProcConnector) -> None:
    drain(names)
    set_serials(range(2))
    with pytest.raises(BufferTooSmallError) as caught:
        names.recv_into(bytearray(EVENT_BYTES - 1), timeout=DEADLINE)

    assert EVENT_BYTES == caught.value.needed
    assert [0, 1] == serials_of(drain(names))


def test_recv_into_returns_complete_datagrams(names: ProcConnector) -> None:
    drain(names)
    set_serials(range(5))
    buffer = bytearray(b"\xee" * (3 * EVENT_BYTES - 1))

    size = names.recv_into(buffer, timeout=DEADLINE)

    assert 2 * EVENT_BYTES == size
    assert b"\xee" * (EVENT_BYTES - 1) == buffer[size:]
    assert list(range(5)) == serials_of(decode(buffer[:size]) + drain(names))


def test_recv_into_rejects_a_read_only_buffer(names: ProcConnector) -> None:
    set_serials(range(2))
    with pytest.raises(TypeError, match="writable"):
        names.recv_into(bytes(1000), timeout=DEADLINE)

    assert [0, 1] == serials_of(drain(names))


TIMED: list[tuple[str, Callable[[ProcConnector, float], object]]] = [
    ("recv", lambda connector, timeout: connector.recv(timeout)),
    ("recv_many", lambda connector, timeout: connector.recv_many(timeout)),
    ("recv_raw", lambda connector, timeout: connector.recv_raw(timeout)),
    (
        "recv_into",
        lambda connector, timeout: connector.recv_into(bytearray(1000), timeout),
    ),
]
timed_modes = pytest.mark.parametrize(
    "mode", [mode for _, mode in TIMED], ids=[name for name, _ in TIMED]
)


@timed_modes
def test_timeout_is_kept_during_a_burst_of_signals(
    mode: Callable[[ProcConnector, float], object],
) -> None:
    count = 0

    def handler(*_: object) -> None:
        nonlocal count
        count += 1

    with ProcConnector(EventMask.NONE) as connector, alarm(handler, 0.001, 0.001):
        started = time.monotonic()
        result = mode(connector, 0.3)
        elapsed = time.monotonic() - started

    assert not result
    assert count > 20
    assert 0.3 <= elapsed < 3


@timed_modes
def test_timeout_is_kept_during_a_burst_of_foreign_acknowledgements(
    mode: Callable[[ProcConnector, float], object],
) -> None:
    with program("request_loop"), ProcConnector(EventMask.NONE) as connector:
        started = time.monotonic()
        result = mode(connector, 0.3)
        elapsed = time.monotonic() - started

    assert not result
    assert 0.3 <= elapsed < 3


def test_timeout_is_kept_during_a_burst_of_filtered_events() -> None:
    with (
        ProcConnector(EventMask.NONE) as connector,
        program("rename", 1_000_000, 0),
    ):
        started = time.monotonic()
        event = connector.recv(timeout=0.3)
        elapsed = time.monotonic() - started

    assert event is None
    assert 0.3 <= elapsed < 3


def test_timeout_is_kept_while_queued_events_are_discarded() -> None:
    """After a change of the mask, queued events are read and re-filtered."""
    with (
        ProcConnector(EventMask.COMM) as connector,
        program("rename", 1_000_000, 0),
    ):
        connector.recv(timeout=DEADLINE)
        connector.subscribe(EventMask.NONE)
        started = time.monotonic()
        event = connector.recv(timeout=0.3)
        elapsed = time.monotonic() - started

    assert event is None
    assert 0.3 <= elapsed < 3


def test_keyboard_interrupt_ends_a_blocking_call() -> None:
    code = (
        "from procconn import *\n"
        "try: ProcConnector(EventMask.NONE).recv()\n"
        "except KeyboardInterrupt: print('interrupted')"
    )
    with started(sys.executable, "-c", code) as process:
        wait_until_blocked(process.pid)
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=DEADLINE)

    assert "interrupted\n" == output


class InterruptionError(Exception):
    """Raised by a signal handler."""


def is_of_connector(frame: FrameType | None) -> bool:
    """Return whether a method of the connector is on the stack."""
    while frame:
        if frame.f_globals["__name__"] == "procconn.connector":
            return True
        frame = frame.f_back
    return False


class Interruptions:
    """Raises an exception in library code every millisecond, from a signal handler.

    Library code includes the C iterator in the `for` statement of `one_by_for`.

    Attributes:
        places: functions and lines where the handler raised.
        in_iterators: number of exceptions raised in an iterator of the library.
        remaining: number of exceptions still to raise, as a call that takes longer than
            a millisecond would never finish.
    """

    def __init__(self) -> None:
        self.places: list[str] = []
        self.in_iterators = self.remaining = 0

    def __enter__(self) -> Self:
        self._previous = signal.signal(signal.SIGALRM, self._handle)
        gc.disable()  # finalizers must not run inside library code
        signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
        return self

    def __exit__(self, *exc_info: object) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, self._previous)
        gc.enable()

    def _handle(self, _: int, frame: FrameType | None) -> None:
        if not frame or not self.remaining:
            return
        is_iterator = is_iterating(frame)
        is_loop = is_iterator and frame.f_code is one_by_for.__code__
        if is_loop or is_of_connector(frame):
            self.remaining -= 1
            self.in_iterators += is_iterator
            self.places.append(f"{frame.f_code.co_qualname}:{frame.f_lineno}")
            raise InterruptionError


@pytest.mark.skipif(os.geteuid() != 0, reason="requires root")
@pytest.mark.heavy
@pytest.mark.parametrize("mode", BLOCKING.values(), ids=BLOCKING)
def test_exception_in_a_signal_handler_loses_no_event(mode: ReadMode) -> None:
    """Repeat until enough exceptions were raised in iterators."""
    count = 20_000
    deadline = time.monotonic() + DEADLINE

    with (
        ProcConnector(EventMask.UID) as connector,
        Interruptions() as interruptions,
    ):
        while len(interruptions.places) <= 20 or interruptions.in_iterators <= 5:
            serials: list[int] = []
            interruptions.remaining = 0  # until the first events arrive
            with program("set_uids", count, 20_000) as producer:
                while count not in serials[-1:]:
                    assert time.monotonic() < deadline
                    with suppress(InterruptionError):
                        events = mode(connector)
                        interruptions.remaining = 3
                        serials += [
                            event.ruid
                            for event in events
                            if isinstance(event, Uid) and event.pid == producer.pid
                        ]

            assert list(range(1, count + 1)) == serials


@pytest.mark.heavy
@pytest.mark.parametrize("mode", ["recv_many", "recv", "for"])
def test_exception_in_a_signal_handler_loses_no_lost_event(mode: str) -> None:
    with (
        ProcConnector(EventMask.COMM, receive_buffer=50_000) as connector,
        program("rename", 100_000, 0) as producer,
    ):
        events: list[Event] = []
        with Interruptions() as interruptions:
            while producer.poll() is None:
                with suppress(InterruptionError):
                    events += BLOCKING[mode](connector)
                    interruptions.remaining = 3
                    set_name(b"wake up")  # the next call must not block
        events += drain(connector)

        assert len(interruptions.places) > 20
        assert interruptions.in_iterators > 0
        assert 0 < connector.lost == lost_count(events)


@pytest.mark.skipif(os.geteuid() != 0, reason="requires root")
@pytest.mark.parametrize("latency", [0, 0.1])
def test_max_latency_limits_the_rate_of_batches(latency: float) -> None:
    sizes = []
    began = time.monotonic()
    with (
        ProcConnector(EventMask.UID | EventMask.EXIT, max_latency=latency) as connector,
        program("set_uids", 500, 1_000_000) as producer,
    ):
        ended = False
        while not ended:
            batch = connector.recv_many(DEADLINE)
            uids = [event for event in batch if isinstance(event, Uid)]
            sizes.append(sum(event.pid == producer.pid for event in uids))
            ended = any(isinstance(e, Exit) and e.pid == producer.pid for e in batch)
    took = time.monotonic() - began

    assert 500 == sum(sizes)
    assert (len(sizes) - 1) * latency <= took


def begin_session() -> None:
    """Cause a SID event, which other processes rarely cause."""
    subprocess.run(["true"], start_new_session=True, check=True)


def test_timeout_ends_coalescing() -> None:
    with ProcConnector(EventMask.SID, max_latency=DEADLINE) as connector:
        begin_session()
        assert connector.recv_many(DEADLINE)  # at once; later events coalesce
        begin_session()
        started = time.monotonic()
        event = connector.recv(timeout=0.3)
        elapsed = time.monotonic() - started

    assert event is not None
    assert 0.3 <= elapsed < DEADLINE / 2


def test_nearly_full_receive_buffer_ends_coalescing() -> None:
    with ProcConnector(
        EventMask.COMM, max_latency=DEADLINE, receive_buffer=200_000
    ) as connector:
        drain(connector)
        set_serials(range(1))
        assert connector.recv_many(DEADLINE)
        set_serials(range(400))  # the receive buffer holds 480
        started = time.monotonic()
        events = connector.recv_many(timeout=DEADLINE)

    assert events
    assert time.monotonic() - started < DEADLINE / 2


def test_signal_ends_coalescing() -> None:
    with ProcConnector(EventMask.SID, max_latency=DEADLINE) as connector:
        begin_session()
        assert connector.recv_many(DEADLINE)
        begin_session()
        started = time.monotonic()
        with alarm(interrupt, 0.1, 0.1), pytest.raises(InterruptionError):
            connector.recv_many()

        assert time.monotonic() - started < DEADLINE / 2
        assert {Sid} == {type(event) for event in connector.recv_many(timeout=0)}


def interrupt(*_: object) -> None:
    raise InterruptionError


def names_of(events: list[Event]) -> set[bytes]:
    own = threading.get_native_id()
    return {e.comm for e in events if isinstance(e, Comm) and e.pid == own}


def test_close_ends_coalescing() -> None:
    with ProcConnector(EventMask.COMM, max_latency=DEADLINE) as connector:
        received: list[Event] = []
        reader = threading.Thread(target=lambda: received.extend(connector))
        reader.start()
        set_name(b"first")
        wait_for(lambda: received)  # later events coalesce
        set_name(b"second")
        wait_until_blocked(reader)
        connector.close()
        reader.join(DEADLINE / 2)

        assert not reader.is_alive()
        assert b"second" not in names_of(received)


def test_close_ends_coalescing_on_asyncio() -> None:
    async def read_until_closed() -> None:
        connector = ProcConnector(EventMask.COMM, max_latency=DEADLINE)
        loop = asyncio.get_running_loop()
        loop.call_later(0.1, set_name, b"first")
        await connector.arecv_many()
        loop.call_later(0.1, set_name, b"second")
        loop.call_later(0.2, connector.close)
        async for event in connector:
            assert b"second" not in names_of([event])

    started = time.monotonic()
    asyncio.run(read_until_closed())

    assert time.monotonic() - started < DEADLINE / 2


def test_nearly_full_receive_buffer_ends_coalescing_on_asyncio() -> None:
    async def read() -> None:
        with ProcConnector(
            EventMask.COMM, max_latency=DEADLINE, receive_buffer=4_000_000
        ) as connector:
            loop = asyncio.get_running_loop()
            loop.call_later(0.1, set_serials, range(100))
            # The receive buffer holds 9,600.
            loop.call_later(0.2, set_serials, range(100, 8_000))
            async for event in connector:
                if serials_of([event])[:1] >= [100]:
                    return

    asyncio.run(asyncio.wait_for(read(), DEADLINE / 2))


@requires_capacity(10_000)
def test_queued_batches_do_not_coalesce_again_on_asyncio() -> None:
    async def read() -> None:
        with ProcConnector(EventMask.COMM, max_latency=DEADLINE) as connector:
            set_serials(range(10_000))  # three batches
            async for event in connector:
                if serials_of([event]) == [9_999]:
                    return

    asyncio.run(asyncio.wait_for(read(), DEADLINE / 2))


@requires_capacity(10_000)
@pytest.mark.parametrize("decoded", [False, True])
def test_recv_many_returns_all_queued_events(
    names: ProcConnector, decoded: bool
) -> None:
    """The events are several batches, and may follow pending events."""
    set_serials(range(10_000))
    events: list[Event | None] = [names.recv(DEADLINE)] if decoded else []
    events += names.recv_many(DEADLINE)

    assert list(range(10_000)) == serials_of([event for event in events if event])


COLLECTED = """
import gc
from procconn import EventMask, ProcConnector
from procconn._core import lib
def look(*_):
    for item in gc.get_objects():
        if type(item) is list and len(item) >= 1500:
            item[0]
with ProcConnector(EventMask.COMM) as connector:
    gc.callbacks.append(look)
    for threshold in range(1, 30):
        for _ in range(1501):
            lib.procconn_rename_thread()
        connector.recv(30)
        gc.collect()
        gc.set_threshold(threshold)  # collect after this many new objects
        connector.recv_many(0)
        gc.set_threshold(0)
"""


@requires_capacity(1501)
def test_gc_callback_finds_no_incomplete_list() -> None:
    """CPython 3.11 runs the GC when it creates an object; a NULL item would crash."""
    result = run_python(COLLECTED)

    assert (0, "") == (result.returncode, result.stderr)


def by_next(connector: ProcConnector) -> list[Event]:
    return [next(iter(connector))]


@pytest.mark.parametrize("mode", [by_recv, by_recv_many, by_next])
def test_read_in_a_gc_callback_during_decoding_keeps_the_order(
    names: ProcConnector, mode: ReadMode
) -> None:
    """CPython 3.11 runs the GC, and so finalizers, when it creates an object."""
    early: list[Event] = []
    nested_reads = 0

    def read(phase: str, _: object) -> None:
        nonlocal nested_reads
        if phase == "start" and is_inside:
            with suppress(RuntimeError):  # before the first event is decoded
                early.extend(by_recv(names))
                nested_reads += 1

    gc.callbacks.append(read)
    threshold = gc.get_threshold()
    is_inside = False
    try:
        for objects in range(1, 40):
            drain(names)
            early.clear()
            set_serials(range(200))
            is_inside = True
            gc.set_threshold(objects)
            try:
                found = mode(names)
            finally:
                gc.set_threshold(*threshold)
                is_inside = False
            late = serials_of(found + drain(names))

            assert list(range(200)) == sorted(serials_of(early) + late)
            assert sorted(serials_of(early)) == serials_of(early)
            assert sorted(late) == late
    finally:
        gc.callbacks.remove(read)

    assert nested_reads or sys.version_info >= (3, 12)


@survives_failed_allocations
@requires_capacity(10_000)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("decoded", [False, True])
def test_memory_error_loses_no_event(names: ProcConnector, decoded: bool) -> None:
    testcapi = pytest.importorskip("_testcapi")
    failed = 0
    for allocation in range(100, 40_100, 2000):
        drain(names)
        set_serials(range(10_000))
        events: list[Event | None] = [names.recv(DEADLINE)] if decoded else []
        try:
            testcapi.set_nomemory(allocation, allocation + 1)
            try:
                events += names.recv_many(0)
            finally:
                testcapi.remove_mem_hooks()
        except MemoryError:
            failed += 1
        events += drain(names)

        assert list(range(10_000)) == serials_of([event for event in events if event])

    assert failed > 3


@requires_capacity(2000)
def test_recv_into_leaves_other_events_in_the_kernel(names: ProcConnector) -> None:
    """The kernel bounds their memory, and counts the drops."""
    count = 2000
    set_serials(range(count))
    for _ in range(count // 2):
        assert 76 == names.recv_into(bytearray(76), DEADLINE)

    with socket.socket(fileno=os.dup(event_socket(names))) as same:
        meminfo = same.getsockopt(socket.SOL_SOCKET, SO_MEMINFO, 36)
    (queued,) = struct.unpack_from("=I", meminfo)
    assert queued > (count // 2 - 100) * 768  # bytes charged for an event, or more


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda connector: connector.recv("1"), "timeout"),
        (lambda connector: connector.recv(-1), "timeout"),
        (lambda connector: connector.recv(False), "timeout"),
        (lambda connector: connector.recv(float("nan")), "timeout"),
        (lambda connector: connector.recv_many("1"), "timeout"),
        (lambda connector: connector.recv_raw(True), "timeout"),
        (lambda connector: connector.recv_into(bytearray(100), "1"), "timeout"),
        (lambda connector: connector.recv_into(100), "buffer"),
        (lambda connector: connector.recv_into("text"), "buffer"),
        (lambda connector: asyncio.run(connector.arecv_many("1")), "timeout"),
        (lambda connector: connector.subscribe("exec"), "mask"),
        (lambda connector: connector.subscribe(3), "mask"),
    ],
)
def test_error_names_the_wrong_argument(
    connector: ProcConnector, call: Callable[[ProcConnector], object], name: str
) -> None:
    with pytest.raises((TypeError, ValueError), match=f"^{name} must be "):
        call(connector)

    assert not connector.closed
