"""Calls interrupted at every point by signal handlers, which raise or call again."""

import asyncio
import gc
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

import pytest
from support.blocking import is_blocked, is_iterating
from support.injection import Injection, inject_at_each_point
from support.live import (
    DEADLINE,
    descriptors,
    drain,
    preserve_name,
    serials_of,
    set_serials,
    wait_for,
)
from support.machine import survives_failed_allocations
from support.read_modes import ReadMode
from support.signals import alarm, handled
from support.single_reads import BLOCKING, by_subscribe
from support.strace import IGNORE, LISTEN, Requests
from support.subprocesses import PROGRAMS

from procconn import ConnectionClosedError, Event, EventMask, ProcConnector, decode


class InterruptionError(Exception):
    """An exception raised by a signal handler."""


def interrupt() -> None:
    raise InterruptionError


@pytest.fixture(autouse=True)
def _restore_name() -> Iterator[None]:
    with preserve_name():
        yield


@contextmanager
def alarm_in(microseconds: int) -> Iterator[None]:
    """Raise InterruptionError from a signal handler once, only in library code."""

    def handle(_: int, frame: FrameType | None) -> None:
        while frame:
            if frame.f_globals["__name__"].startswith("procconn."):
                raise InterruptionError
            frame = frame.f_back

    with alarm(handle, microseconds / 1e6):
        yield


def close_again(connector: ProcConnector) -> None:
    """Close a connector whose close() may have been interrupted."""
    connector.close()
    assert connector.closed


def interrupted_closes(queue: int, count: int) -> int:
    """Close connectors while signals arrive; return how often one interrupted."""
    interrupted = 0
    for round_ in range(count):
        connector = ProcConnector(EventMask.NONE, queue=queue)
        try:
            with alarm_in(1 + round_ % 60):
                connector.close()
        except InterruptionError:
            interrupted += 1
        close_again(connector)
    return interrupted


def interrupted_opens(queue: int, count: int) -> int:
    """Open connectors while signals arrive; return how often one interrupted."""
    interrupted = 0
    for round_ in range(count):
        try:
            with alarm_in(1 + 2 * (round_ % 300)):
                ProcConnector(EventMask.NONE, queue=queue).close()
        except InterruptionError:
            interrupted += 1
    gc.collect()
    return interrupted


INTERRUPT_AT_RANDOM = f"""
import sys, warnings
sys.path.insert(0, {str(PROGRAMS.parents[1])!r})
warnings.simplefilter("ignore", ResourceWarning)
from live.test_interruptions import *
before = descriptors()
print({{function}}({{queue}}, 600), file=sys.stdout)
gc.collect()
wait_for(lambda: descriptors() <= before)
"""


@pytest.mark.parametrize("queue", [0, 262_144])
@pytest.mark.parametrize("function", [interrupted_closes, interrupted_opens])
def test_random_interruptions_leave_no_descriptor_or_subscription(
    function: Callable[[int, int], int], queue: int
) -> None:
    code = INTERRUPT_AT_RANDOM.format(function=function.__name__, queue=queue)
    requests = Requests(code)

    # Python prints exceptions raised in finalizers on stderr.
    assert 0 == requests.result.returncode, requests.result.stderr
    assert int(requests.result.stdout) > 30
    sent = requests.all_sent
    assert sent.count(LISTEN) == sent.count(IGNORE) > 100


@pytest.mark.parametrize("queue", [0, 262_144])
def test_close_interrupted_at_each_point_can_be_repeated(queue: int) -> None:
    gc.collect()
    before = descriptors()

    def close(injection: Injection) -> None:
        connector = ProcConnector(EventMask.NONE, queue=queue)
        with suppress(InterruptionError), injection.armed(interrupt):
            connector.close()
        close_again(connector)

    points = inject_at_each_point(close)
    gc.collect()

    assert points > 3
    wait_for(lambda: descriptors() <= before)  # the native thread may close the last


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("queue", [0, 262_144])
def test_open_interrupted_at_each_point_leaves_no_descriptor(queue: int) -> None:
    gc.collect()
    before = descriptors()

    def open_and_close(injection: Injection) -> None:
        connector = None
        with suppress(InterruptionError), injection.armed(interrupt):
            connector = ProcConnector(EventMask.NONE, queue=queue)
        if connector is not None:
            connector.close()

    points = inject_at_each_point(open_and_close)
    gc.collect()

    assert points > 20
    wait_for(lambda: descriptors() <= before)  # the native thread may close the last


OPEN_AT_EACH_POINT = f"""
import sys, warnings
sys.path.insert(0, {str(PROGRAMS.parents[1])!r})
warnings.simplefilter("ignore", ResourceWarning)
from live.test_interruptions import *
test_open_interrupted_at_each_point_leaves_no_descriptor({{queue}})
test_close_interrupted_at_each_point_can_be_repeated({{queue}})
"""


@pytest.mark.parametrize("queue", [0, 262_144])
def test_interruptions_at_each_point_leave_no_subscription(queue: int) -> None:
    requests = Requests(OPEN_AT_EACH_POINT.format(queue=queue))

    assert (0, "") == (requests.result.returncode, requests.result.stderr)
    sent = requests.all_sent
    assert sent.count(LISTEN) == sent.count(IGNORE) > 5


READS: dict[str, ReadMode] = {
    "recv": lambda connector: [e for e in [connector.recv(0)] if e],
    "recv_many": lambda connector: connector.recv_many(0),
    "for": lambda connector: [next(iter(connector))],
}


@pytest.mark.parametrize("polled", [False, True], ids=["", "polled"])
@pytest.mark.parametrize("queue", [0, 262_144])
@pytest.mark.parametrize("pending", [0, 1, 5])
@pytest.mark.parametrize("mode", READS)
def test_read_interrupted_at_each_point_loses_no_event(
    mode: str, pending: int, queue: int, polled: bool
) -> None:

    def read(injection: Injection) -> None:
        with ProcConnector(EventMask.COMM, queue=queue) as connector:
            drain(connector)
            if polled:
                connector.fileno()
            events: list[Event] = []
            set_serials(range(pending + 1))
            if pending:
                events += [event for event in [connector.recv(0)] if event]
            set_serials(range(pending + 1, 10))
            with suppress(InterruptionError), injection.armed(interrupt):
                events += READS[mode](connector)
            events += drain(connector)

        if injection.reached:
            assert list(range(10)) == serials_of(events)

    assert inject_at_each_point(read) > 2


@pytest.mark.parametrize("polled", [False, True], ids=["", "polled"])
@pytest.mark.parametrize("queue", [0, 262_144])
@pytest.mark.parametrize("mode", ["recv_raw", "recv_into"])
def test_raw_read_interrupted_at_each_point_loses_no_event(
    mode: str, queue: int, polled: bool
) -> None:
    """The descriptor stays readable, and the next read returns the events."""
    buffer = bytearray(1000)

    def read(injection: Injection) -> None:
        with ProcConnector(EventMask.COMM, queue=queue) as connector:
            drain(connector)
            if polled:
                connector.fileno()
            set_serials(range(10))
            raw, size = b"", 0
            with suppress(InterruptionError), injection.armed(interrupt):
                if mode == "recv_raw":
                    raw = connector.recv_raw(0)
                else:
                    size = connector.recv_into(buffer, 0)
            if polled and not (raw or size):
                assert select.select([connector.fileno()], [], [], DEADLINE)[0]
            events = decode(raw or buffer[:size]) + drain(connector)

        assert list(range(10)) == serials_of(events)

    assert inject_at_each_point(read) > 2


def by_recv_into(connector: ProcConnector) -> list[Event]:
    buffer = bytearray(1000)
    return decode(buffer[: connector.recv_into(buffer, DEADLINE)])


WAITING_READS: dict[str, ReadMode] = {**BLOCKING, "recv_into": by_recv_into}
ACTIONS = {**READS, "subscribe": by_subscribe}


@contextmanager
def signalled_while_waiting(handle: Callable[[], object]) -> Iterator[list[bool]]:
    """Run a signal handler while the main thread waits for events.

    Yields:
        For each run of the handler, whether it interrupted an iterator.
    """
    ran: list[bool] = []
    main = threading.main_thread()

    def handler(_: int, frame: FrameType | None) -> None:
        assert frame is not None
        ran.append(is_iterating(frame))
        handle()

    def signal_once() -> None:
        wait_for(lambda: is_blocked(main))
        assert main.ident is not None
        signal.pthread_kill(main.ident, signal.SIGUSR1)

    thread = threading.Thread(target=signal_once)
    with handled(signal.SIGUSR1, handler):
        thread.start()
        try:
            yield ran
        finally:
            thread.join()


@pytest.mark.parametrize("queue", [0, 262_144])
@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("mode", WAITING_READS)
def test_signal_handler_may_use_the_connector_of_a_waiting_read(
    mode: str, action: str, queue: int
) -> None:
    events: list[Event] = []

    with ProcConnector(EventMask.COMM, queue=queue) as connector:
        drain(connector)
        wait_for(lambda: connector.recv(0) is None)

        def handle() -> None:
            set_serials(range(3))
            wait_for(lambda: connector.fileno() and select_now(connector))
            events.extend(ACTIONS[action](connector))
            set_serials(range(3, 6))

        with signalled_while_waiting(handle) as ran:
            while not ran:
                events += WAITING_READS[mode](connector)
        events += drain(connector)

    assert [True] == ran
    assert list(range(6)) == sorted(serials_of(events))
    if mode not in ("recv_raw", "recv_into"):
        assert list(range(6)) == serials_of(events)


def select_now(connector: ProcConnector) -> bool:
    return bool(select.select([connector.fileno()], [], [], 0)[0])


@pytest.mark.parametrize("queue", [0, 262_144])
@pytest.mark.parametrize("mode", WAITING_READS)
def test_exception_of_a_signal_handler_leaves_events_to_the_next_call(
    mode: str, queue: int
) -> None:
    with ProcConnector(EventMask.COMM, queue=queue) as connector:
        drain(connector)

        def handle() -> None:
            set_serials(range(3))
            raise InterruptionError

        events: list[Event] = []
        with signalled_while_waiting(handle) as ran, suppress(InterruptionError):
            while not ran:
                events += WAITING_READS[mode](connector)
        while 2 not in serials_of(events):
            events += WAITING_READS[mode](connector)

    assert [True] == ran
    assert [0, 1, 2] == serials_of(events)


@pytest.mark.parametrize("queue", [0, 262_144])
def test_iterator_continues_after_an_exception(queue: int) -> None:
    with ProcConnector(EventMask.COMM, queue=queue) as connector:
        drain(connector)
        iterator = iter(connector)
        events: list[Event] = []

        def read(last: int) -> None:
            for event in iterator:
                events.append(event)
                if serials_of([event]) == [last]:
                    return

        for first in (0, 10):
            with signalled_while_waiting(interrupt) as ran:
                with pytest.raises(InterruptionError):
                    read(-1)
                assert [True] == ran
            set_serials(range(first, first + 10))
            read(first + 9)
        connector.close()

        assert [] == serials_of(list(iterator))

    assert list(range(20)) == serials_of(events)


@pytest.mark.parametrize("action", [*ACTIONS, "close"])
def test_signal_handler_may_read_or_close_between_two_pending_events(
    action: str,
) -> None:
    """Events decoded before the close are still delivered."""
    with ProcConnector(EventMask.COMM) as connector:
        drain(connector)
        set_serials(range(6))
        events: list[Event] = []

        def handle(*_: object) -> None:
            if action == "close":
                connector.close()
            else:
                events.extend(ACTIONS[action](connector))

        with handled(signal.SIGUSR1, handle):
            for event in connector:
                events.append(event)
                if serials_of([event]) == [1]:
                    signal.raise_signal(signal.SIGUSR1)
                if 5 in serials_of(events):
                    break

    assert list(range(6)) == serials_of(events)


@pytest.mark.parametrize("queue", [0, 262_144])
def test_recv_many_raises_an_oserror_of_a_signal_handler(queue: int) -> None:
    """Alarm handlers raise TimeoutError, an OSError; the events stay pending."""
    main = threading.main_thread()

    def handle(*_: object) -> None:
        raise TimeoutError

    def signal_and_cause_events() -> None:
        wait_for(lambda: is_blocked(main))
        signal.raise_signal(signal.SIGUSR1)  # does not interrupt the main thread's wait
        set_serials(range(3))

    def read() -> None:
        deadline = time.monotonic() + DEADLINE
        while time.monotonic() < deadline:  # events of other programs end waits, too
            connector.recv_many(DEADLINE)

    thread = threading.Thread(target=signal_and_cause_events)
    previous = signal.signal(signal.SIGUSR1, handle)
    try:
        with ProcConnector(EventMask.COMM, queue=queue) as connector:
            drain(connector)
            thread.start()
            with pytest.raises(TimeoutError):
                read()
            thread.join()
            events = drain(connector)
    finally:
        thread.join()
        signal.signal(signal.SIGUSR1, previous)

    assert list(range(3)) == serials_of(events, thread.native_id)


@pytest.mark.parametrize("queue", [0, 262_144])
def test_garbage_collection_does_not_wait_for_an_acknowledgement(queue: int) -> None:
    """A dropped connector is finalized much faster than its `timeout`."""
    dropped = [ProcConnector(EventMask.NONE, queue=queue, timeout=DEADLINE)]
    began = time.monotonic()
    with pytest.warns(ResourceWarning, match="unclosed"):
        dropped.clear()

    assert time.monotonic() - began < DEADLINE / 4


def test_closed_loop_leaves_the_connector_usable() -> None:
    gc.collect()
    before = descriptors()
    connector = ProcConnector(EventMask.COMM)
    drain(connector)
    loop = asyncio.new_event_loop()
    iterator = aiter(connector)
    connector.subscribe(EventMask.NONE)
    pending: asyncio.Task[Event] = loop.create_task(anext(iterator))  # type: ignore[arg-type]
    loop.call_later(0.05, loop.stop)
    loop.run_forever()
    loop.close()
    connector.subscribe(EventMask.COMM)
    set_serials(range(3))
    events = drain(connector)
    set_serials(range(3, 6))
    while 5 not in serials_of(events):
        events += asyncio.run(connector.arecv_many(DEADLINE))
    connector.close()
    pending._log_destroy_pending = False  # type: ignore[attr-defined]
    del pending, iterator
    gc.collect()

    assert list(range(6)) == serials_of(events)
    wait_for(lambda: descriptors() <= before)  # the native thread may close the last


def test_task_of_a_closed_loop_does_not_disturb_later_reads() -> None:
    with ProcConnector(EventMask.NONE) as connector:
        loop = asyncio.new_event_loop()
        pending = [loop.create_task(connector.arecv_many())]
        loop.call_later(0.05, loop.stop)
        loop.run_forever()
        loop.close()

        async def wait() -> None:
            first = asyncio.ensure_future(connector.arecv_many())
            await asyncio.sleep(0.01)
            pending.pop()._log_destroy_pending = False  # type: ignore[attr-defined]
            gc.collect()
            with pytest.raises(RuntimeError, match="already reading"):
                await connector.arecv_many(0.01)
            connector.close()
            with pytest.raises(ConnectionClosedError):
                await asyncio.wait_for(first, DEADLINE)

        asyncio.run(wait())


def test_closed_loop_keeps_no_descriptor_of_a_closed_connector() -> None:
    gc.collect()
    before = descriptors()
    connector = ProcConnector(EventMask.NONE)
    loop = asyncio.new_event_loop()
    iterator = aiter(connector)
    pending: asyncio.Task[Event] = loop.create_task(anext(iterator))  # type: ignore[arg-type]
    loop.call_later(0.05, loop.stop)
    loop.run_forever()
    loop.close()
    connector.close()

    wait_for(lambda: descriptors() <= before)
    pending._log_destroy_pending = False  # type: ignore[attr-defined]


def test_async_for_keeps_a_reader_that_the_user_added() -> None:
    async def main() -> int:
        calls = 0

        def called() -> None:
            nonlocal calls
            calls += 1

        with ProcConnector(EventMask.COMM) as connector:
            loop = asyncio.get_running_loop()
            loop.add_reader(connector.fileno(), called)
            set_serials(range(3))
            async for event in connector:
                if serials_of([event]) == [2]:
                    break
            calls = 0
            set_serials(range(3))
            while not calls:
                await asyncio.sleep(0.001)
            assert loop.remove_reader(connector.fileno())
            return calls

    assert asyncio.run(asyncio.wait_for(main(), DEADLINE)) > 0


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@survives_failed_allocations
@pytest.mark.parametrize(
    "mode",
    [
        *("recv", "recv_many", "for", "recv_raw"),
        pytest.param(
            "subscribe",
            marks=pytest.mark.skipif(
                sys.version_info >= (3, 12),
                reason="a failed allocation in enum.Flag crashes CPython since 3.12",
            ),
        ),
    ],
)
def test_failed_allocation_loses_no_event(mode: str) -> None:
    """The call raises MemoryError, and received events are kept."""
    testcapi = pytest.importorskip("_testcapi")
    failed = 0
    for allocation in range(200):
        with ProcConnector(EventMask.COMM) as connector:
            drain(connector)
            set_serials(range(6))
            event: Event | None = None
            events: list[Event] = []
            raw = b""
            if mode == "subscribe":  # with some events pending
                events += [event for event in [connector.recv(0)] if event]
            try:
                testcapi.set_nomemory(allocation, allocation + 1)
                try:
                    if mode == "recv":
                        event = connector.recv(0)
                    elif mode == "for":
                        event = next(iter(connector))
                    elif mode == "recv_raw":
                        raw = connector.recv_raw(0)
                    elif mode == "subscribe":
                        connector.subscribe(EventMask.COMM | EventMask.PTRACE)
                    else:
                        events = connector.recv_many(0)
                finally:
                    testcapi.remove_mem_hooks()
            except MemoryError:
                failed += 1
            events += [event] if event else []
            events += decode(raw) + drain(connector)

            assert list(range(6)) == serials_of(events)
            assert 0 == connector.lost

    assert failed > 2


@pytest.mark.parametrize("received", [1, 3, 4])
def test_read_at_each_point_of_subscribe_delivers_each_event_once(
    received: int,
) -> None:
    """Some events are pending, and some of them do not match the new mask."""

    def change(injection: Injection) -> None:
        with ProcConnector(EventMask.COMM | EventMask.EXIT) as connector:
            drain(connector)
            for first in range(0, 9, 3):
                set_serials(range(first, first + 3))
                os.waitpid(os.posix_spawn("/bin/true", ["true"], {}), 0)
            events = [e for e in [connector.recv(0) for _ in range(received)] if e]

            def read() -> None:
                with suppress(RuntimeError):
                    events.extend(e for e in [connector.recv(0)] if e)

            with injection.armed(read):
                connector.subscribe(EventMask.COMM)
            events += drain(connector)

        assert list(range(9)) == serials_of(events)

    assert inject_at_each_point(change) > 5
