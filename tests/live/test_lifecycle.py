"""Closing a connector at any point, using it after fork(), dropping it unclosed."""

import asyncio
import contextlib
import errno
import gc
import os
import resource
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import PIPE, Popen

import pytest
from support.blocking import is_blocked, wait_until_blocked
from support.injection import Injection, inject_at_each_point
from support.live import (
    DEADLINE,
    PR_SET_NAME,
    descriptors,
    drain,
    preserve_name,
    serials_of,
    set_serials,
    wait_for,
)
from support.machine import PYTHON, requires_capacity
from support.signals import alarm
from support.sockets import event_socket
from support.strace import IGNORE, LISTEN, Requests
from support.subprocesses import PROGRAMS, run, run_python

from live.programs.syscalls import NUMBERS
from procconn import ConnectionClosedError, Event, EventMask, ProcConnector


@pytest.fixture(autouse=True)
def _restore_name() -> Iterator[None]:
    with preserve_name():
        yield


@pytest.fixture
def idle() -> Iterator[ProcConnector]:
    """Yield a connector that receives no events."""
    with ProcConnector(EventMask.NONE) as connector:
        yield connector


def start_call(call: Callable[[], object]) -> tuple[threading.Thread, list[object]]:
    """Run `call` in a thread that appends its result or exception type to a list."""
    results: list[object] = []

    def target() -> None:
        try:
            results.append(call())
        except Exception as error:
            results.append(type(error))

    thread = threading.Thread(target=target, daemon=True)
    thread.start()
    return thread, results


CALLS: dict[str, Callable[[ProcConnector], object]] = {
    "recv": lambda connector: connector.recv(),
    "recv_many": lambda connector: connector.recv_many(),
    "recv_raw": lambda connector: connector.recv_raw(),
    "recv_into": lambda connector: connector.recv_into(bytearray(1000)),
}


async def collect(connector: ProcConnector) -> list[object]:
    return [event async for event in connector]


ITERATIONS: dict[str, Callable[[ProcConnector], object]] = {
    "for": list,
    "async for": lambda connector: asyncio.run(collect(connector)),
}
ALL_CALLS: dict[str, Callable[[ProcConnector], object]] = {
    **CALLS,
    **ITERATIONS,
    "subscribe": lambda connector: connector.subscribe(),
    "unsubscribe": lambda connector: connector.unsubscribe(),
    "fileno": lambda connector: connector.fileno(),
    "with": lambda connector: connector.__enter__(),
    "async with": lambda connector: asyncio.run(connector.__aenter__()),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_close_in_another_thread_wakes_blocked_call(
    idle: ProcConnector, call: Callable[[ProcConnector], object]
) -> None:
    thread, results = start_call(lambda: call(idle))
    wait_until_blocked(thread)
    idle.close()
    thread.join(DEADLINE)

    assert [ConnectionClosedError] == results
    assert idle.closed


def test_close_in_another_thread_ends_iteration(idle: ProcConnector) -> None:
    thread, results = start_call(lambda: list(idle))
    wait_until_blocked(thread)
    idle.close()
    thread.join(DEADLINE)

    assert [[]] == results


def test_close_in_another_thread_ends_async_iteration(idle: ProcConnector) -> None:
    started = threading.Event()

    async def main() -> list[object]:
        asyncio.get_running_loop().call_later(0.05, started.set)
        return await collect(idle)

    thread, results = start_call(lambda: asyncio.run(main()))
    assert started.wait(DEADLINE)
    idle.close()
    thread.join(DEADLINE)

    assert [[]] == results


def test_close_in_the_same_loop_ends_async_iteration() -> None:
    async def main() -> list[object]:
        async with ProcConnector(EventMask.NONE) as connector:
            asyncio.get_running_loop().call_later(0.05, connector.close)
            return await collect(connector)

    assert [] == asyncio.run(asyncio.wait_for(main(), DEADLINE))


def test_cancelled_task_leaves_the_connector_usable(idle: ProcConnector) -> None:
    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await collect(idle)

    asyncio.run(main())
    idle.subscribe(EventMask.COMM)
    set_serials(range(3))

    assert [0, 1, 2] == serials_of(drain(idle))


def test_close_is_idempotent(idle: ProcConnector) -> None:
    idle.close()
    idle.close()

    assert idle.closed


@pytest.mark.parametrize(
    "seconds", [1e10, 1e308, 10**400], ids=["centuries", "float", "int"]
)
def test_times_may_exceed_the_clock_range(seconds: float) -> None:
    with (
        preserve_name(),
        ProcConnector(EventMask.COMM, timeout=seconds, heartbeat=seconds) as connector,
    ):
        set_serials(range(1))

        assert connector.recv(seconds) is not None

    with ProcConnector(EventMask.NONE, max_latency=seconds) as connector:
        assert connector.recv(0) is None


@pytest.mark.parametrize("call", ALL_CALLS.values(), ids=ALL_CALLS)
def test_closed_connector_raises_value_error(
    idle: ProcConnector, call: Callable[[ProcConnector], object]
) -> None:
    idle.close()

    with pytest.raises(ValueError, match="closed"):
        call(idle)


def test_closed_connector_keeps_lost() -> None:
    with ProcConnector(EventMask.COMM, receive_buffer=2304) as connector:
        set_serials(range(100))
        lost = connector.lost
        connector.recv_many()

    assert 0 < lost <= connector.lost


def test_signal_handler_may_close_the_connector_during_a_read(
    idle: ProcConnector,
) -> None:
    fd = event_socket(idle)
    with (
        alarm(lambda *_: idle.close(), 0.05),
        pytest.raises(ConnectionClosedError),
    ):
        idle.recv(timeout=DEADLINE)

    assert not Path(f"/proc/self/fd/{fd}").is_symlink()


def test_signal_handler_may_end_an_iteration(idle: ProcConnector) -> None:
    with alarm(lambda *_: idle.close(), 0.05):
        events = list(idle)

    assert [] == events


SINGLE_THREADED = """
import signal, threading
from procconn import *
signal.alarm({timeout})
def interrupt(*_):
    raise InterruptedError
connector = ProcConnector(EventMask.NONE, max_latency={max_latency})
signal.signal(signal.SIGUSR1, lambda *_: {action})
signal.siginterrupt(signal.SIGUSR1, {interrupts})
print(flush=True)
try:
    list(connector)
except InterruptedError:
    print("interrupted")
connector.close()
print(connector.closed)
"""


@pytest.mark.parametrize("max_latency", [0, 0.01])
@pytest.mark.parametrize("interrupts", [True, False])
@pytest.mark.parametrize(
    ("action", "printed"),
    [
        ("connector.close()", "True\n"),
        ("interrupt()", "interrupted\nTrue\n"),
        ("threading.Thread(target=connector.close).start()", "True\n"),
        ("threading.Timer(0.05, connector.close).start()", "True\n"),
    ],
)
def test_signal_ends_the_wait_of_a_single_threaded_process(
    action: str, printed: str, interrupts: bool, max_latency: float
) -> None:
    """The handler may also start a thread that closes the connector.

    After siginterrupt(False), the kernel restarts most interrupted system calls.
    """
    code = SINGLE_THREADED.format(
        action=action,
        interrupts=interrupts,
        max_latency=max_latency,
        timeout=int(DEADLINE / 2),
    )
    with Popen([*PYTHON, "-c", code], stdout=PIPE, text=True) as reader:
        assert reader.stdout
        reader.stdout.readline()
        wait_until_blocked(reader.pid)
        reader.send_signal(signal.SIGUSR1)
        result = reader.communicate(timeout=DEADLINE)[0]

    assert (0, printed) == (reader.returncode, result)


@pytest.mark.parametrize("max_latency", [0, 0.01])
@pytest.mark.parametrize("queue", [0, 262_144])
@pytest.mark.parametrize(
    "call", [*CALLS.values(), *ITERATIONS.values()], ids=[*CALLS, *ITERATIONS]
)
def test_close_at_each_point_before_the_wait_ends_the_call(
    call: Callable[[ProcConnector], object], queue: int, max_latency: float
) -> None:
    """The call has found the connector open, but must not block forever."""
    was_open = []
    for point in range(1000):
        injection = Injection(point)
        with ProcConnector(
            EventMask.NONE, queue=queue, max_latency=max_latency
        ) as connector:

            def call_and_close() -> object:
                with injection.armed(connector.close):  # noqa: B023
                    return call(connector)

            thread, results = start_call(call_and_close)
            wait_for(lambda: results or is_blocked(thread))  # noqa: B023
            is_reached = bool(results)
            connector.close()
            thread.join(DEADLINE / 4)

        assert results in ([ValueError], [ConnectionClosedError], [[]])
        was_open += [results != [ValueError]]
        if not is_reached:
            break

    assert not is_reached
    assert len(was_open) > 3
    assert sorted(was_open) == was_open  # ValueError: closed before the call began


def test_close_during_a_busy_iteration_ends_it_without_error() -> None:
    for _ in range(100):
        with ProcConnector(EventMask.COMM) as connector:

            def read(events: Iterator[Event] = iter(connector)) -> int:  # noqa: B008
                return sum(1 for _ in events)

            thread, results = start_call(read)
            set_serials(range(200))
            connector.close()
            thread.join(DEADLINE)

        assert [int] == [type(result) for result in results]


def test_dropped_connector_is_closed_with_a_warning() -> None:
    def drop() -> None:
        ProcConnector(EventMask.NONE)
        gc.collect()

    gc.collect()
    before = descriptors()
    with pytest.warns(ResourceWarning, match="unclosed <ProcConnector open>"):
        drop()

    assert descriptors() <= before


def test_dropping_the_last_iterator_closes_the_connector() -> None:
    """Reference counting suffices: the cyclic garbage collector is disabled."""
    gc.collect()
    before = descriptors()
    gc.disable()
    try:
        iterator = iter(ProcConnector(EventMask.COMM))
        set_serials(range(3))
        events = [next(iterator)]
        while 1 not in serials_of(events):
            events.append(next(iterator))
        with pytest.warns(ResourceWarning, match="unclosed <ProcConnector open>"):
            del iterator

        assert descriptors() <= before
    finally:
        gc.enable()


def test_cycle_of_iterator_and_connector_is_collected() -> None:
    class Owner(ProcConnector):
        iterator: Iterator[Event]

    gc.collect()
    before = descriptors()
    with Owner(EventMask.NONE) as connector:
        connector.iterator = iter(connector)
    del connector
    gc.collect()

    assert descriptors() <= before
    assert not any(isinstance(obj, Owner) for obj in gc.get_objects())


DROP_IN_CHILD = """
import contextlib, gc, os, warnings
from procconn import EventMask, ProcConnector
warnings.simplefilter("ignore", DeprecationWarning)  # fork() with threads
connector = ProcConnector(EventMask.COMM, queue=65536)
iterator = iter(connector)
child = os.fork()
if child == 0:
    connector.close()
    del connector
    with contextlib.suppress(RuntimeError):
        next(iterator)
    del iterator
    gc.collect()
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
connector.close()
"""


def test_forked_child_may_drop_an_iterator() -> None:
    result = run_python(DROP_IN_CHILD)

    assert (0, "") == (result.returncode, result.stderr)


def test_closed_connectors_leave_no_descriptor() -> None:
    gc.collect()
    before = descriptors()
    for _ in range(200):
        with ProcConnector() as connector:
            connector.recv_many(timeout=0)

    assert descriptors() <= before


@pytest.mark.parametrize(
    ("queue", "spare"), [(0, 0), (0, 1), (0, 2), (262_144, 3), (262_144, 4)]
)
def test_failed_open_leaves_no_descriptor(queue: int, spare: int) -> None:
    """open(2) fails with EMFILE after `spare` more descriptors."""
    gc.collect()
    before = descriptors()
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest_fd = max(int(fd) for fd in os.listdir("/proc/self/fd"))
    # RLIMIT_NOFILE limits the descriptor number, so fill the gaps below it.
    fillers = [os.dup(0)]
    while fillers[-1] < highest_fd:
        fillers.append(os.dup(0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (fillers[-1] + 1 + spare, limits[1]))
    try:
        with pytest.raises(OSError, match=os.strerror(errno.EMFILE)):
            ProcConnector(queue=queue)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        for fd in fillers:
            os.close(fd)

    assert descriptors() <= before


def test_connectors_of_one_process_are_independent() -> None:
    with ProcConnector(EventMask.COMM) as first:
        with ProcConnector(EventMask.COMM) as second:
            set_serials(range(3))
            first.unsubscribe()
            second_serials = serials_of(drain(second))
        first_serials = serials_of(drain(first))
        first.subscribe()
        with ProcConnector(EventMask.SID):
            set_serials(range(3, 6))
        last_serials = serials_of(drain(first))

    assert [0, 1, 2] == first_serials == second_serials
    assert [3, 4, 5] == last_serials


def test_second_reader_gets_an_error_and_the_first_continues() -> None:
    with ProcConnector(EventMask.SID) as connector:
        thread, results = start_call(connector.recv_many)
        wait_until_blocked(thread)
        for call in CALLS.values():
            with pytest.raises(RuntimeError, match="already reading"):
                call(connector)
        with pytest.raises(RuntimeError, match="already reading"):
            next(iter(connector))
        run_python("import os; os.fork() or os.setsid()")
        thread.join(DEADLINE)

    assert results
    assert isinstance(results[0], list)


@pytest.mark.parametrize("outer", ["recv", "recv_many", "for"])
@pytest.mark.parametrize("inner", ["recv", "recv_many", "for"])
def test_read_during_a_read_at_each_point_loses_no_event(
    outer: str, inner: str
) -> None:
    """More events arrive before the inner read."""

    def read(connector: ProcConnector, mode: str) -> list[Event]:
        if mode == "recv_many":
            return connector.recv_many(timeout=0)
        event = next(iter(connector)) if mode == "for" else connector.recv(timeout=0)
        return [event] if event else []

    def read_both(injection: Injection) -> None:
        with ProcConnector(EventMask.COMM) as connector:
            drain(connector)
            set_serials(range(10))
            events: list[Event] = []

            def read_inside() -> None:
                set_serials(range(10, 20))
                events.extend(read(connector, inner))
                set_serials(range(20, 21))  # so that an iteration does not block

            with injection.armed(read_inside):
                events += read(connector, outer)
            events += drain(connector)

        if injection.reached:
            assert list(range(21)) == sorted(serials_of(events))

    # This injects in methods only; test_interruptions injects in iterators.
    assert inject_at_each_point(read_both) > 2


@pytest.fixture
def short_switch_interval() -> Iterator[None]:
    """Make threads switch as often as possible."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@requires_capacity(10_000)
@pytest.mark.usefixtures("short_switch_interval")
@pytest.mark.parametrize("queue", [0, 1 << 20])
@pytest.mark.parametrize("mode", ["recv", "recv_many", "mixed", "for"])
def test_readers_in_two_threads_get_an_error_or_distinct_events(
    mode: str, queue: int
) -> None:
    count = 10_000
    with ProcConnector(EventMask.COMM, max_latency=0, queue=queue) as connector:
        own = threading.get_native_id()
        done = threading.Event()
        serials: tuple[list[int], list[int]] = ([], [])

        def read(index: int) -> None:
            is_single = mode == "recv" or (mode == "mixed" and index == 0)
            while not done.is_set():
                try:
                    if mode == "for":
                        for event in connector:
                            serials[index].extend(serials_of([event], own))
                            if sum(map(len, serials)) == count:
                                done.set()
                        continue
                    if is_single:
                        one = connector.recv(timeout=0.01)
                        events = [one] if one else []
                    else:
                        events = connector.recv_many(timeout=0.01)
                except (RuntimeError, ValueError):
                    continue  # the other thread is reading, or closed the connector
                serials[index].extend(serials_of(events, own))
                if sum(map(len, serials)) == count:
                    done.set()

        threads = [threading.Thread(target=read, args=(index,)) for index in (0, 1)]
        for thread in threads:
            thread.start()
        set_serials(range(count))
        done.wait(DEADLINE)
        done.set()
        if mode == "for":
            connector.close()
        for thread in threads:
            thread.join(DEADLINE)

    assert list(range(count)) == sorted([*serials[0], *serials[1]])


FORK = """
import contextlib, ctypes, gc, os, sys
from procconn import EventMask, ProcConnector

connector = ProcConnector(EventMask.COMM)
child = os.fork()
if child == 0:
    {action}
    gc.collect()
    {end}
assert os.waitpid(child, 0)[1] == 0

ctypes.CDLL(None).prctl({PR_SET_NAME}, b"afterwards")
while not connector.recv(timeout=30).comm.startswith(b"afterwards"):
    pass
connector.close()
"""


@pytest.mark.parametrize("end", ["os._exit(0)", "sys.exit(0)"])
@pytest.mark.parametrize(
    "action",
    [
        "pass",
        "connector.close()",
        "del connector",
        "connector.__exit__(*[None] * 3)",
        "with contextlib.suppress(RuntimeError): connector.unsubscribe()",
        "with contextlib.suppress(RuntimeError): connector.subscribe(EventMask.NONE)",
    ],
)
def test_forked_child_does_not_change_the_subscription(action: str, end: str) -> None:
    code = FORK.format(action=action, end=end, PR_SET_NAME=PR_SET_NAME)
    requests = Requests(code)
    result = requests.result

    assert (0, "", "") == (result.returncode, result.stdout, result.stderr)
    assert [[LISTEN, IGNORE]] == list(requests.sent.values())


@pytest.mark.parametrize("call", ["unsubscribe", "subscribe", "recv_many"])
def test_forked_child_may_not_read_or_subscribe(call: str) -> None:
    code = f"""
import os
from procconn import EventMask, ProcConnector
connector = ProcConnector(EventMask.COMM)
if (child := os.fork()) == 0:
    try:
        connector.{call}()
    except RuntimeError as error:
        os._exit("after the fork" not in str(error))
assert os.waitpid(child, 0)[1] == 0
"""
    result = run_python(code)

    assert (0, "") == (result.returncode, result.stderr)


@pytest.mark.parametrize(
    "call", ["connector.recv(0)", "connector.recv_many(0)", "next(iter(connector))"]
)
def test_forked_child_does_not_get_pending_events(call: str) -> None:
    """Reading them raises RuntimeError; the parent still receives them."""
    code = f"""
import ctypes, os
from procconn import EventMask, ProcConnector
connector = ProcConnector(EventMask.COMM)
for _ in range(3):
    ctypes.CDLL(None).prctl(15, b"name")
assert connector.recv()
if (child := os.fork()) == 0:
    try:
        {call}
    except RuntimeError as error:
        os._exit("after the fork" not in str(error))
    os._exit(2)
assert os.waitpid(child, 0)[1] == 0
assert len(connector.recv_many(0)) >= 2
"""
    result = run_python(code)

    assert (0, "") == (result.returncode, result.stderr)


def test_finalizer_closes_the_connector_despite_exceptions() -> None:
    """An exception at any call in the finalizer leaves no descriptor open."""
    result = run(*PYTHON, PROGRAMS / "interrupted_drop.py")

    assert (0, "") == (result.returncode, result.stderr)


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_forked_child_may_close_while_the_parent_reads() -> None:
    with ProcConnector(EventMask.NONE) as connector:
        thread, _ = start_call(connector.recv)
        wait_until_blocked(thread)
        fds = (event_socket(connector), connector.fileno())
        child = os.fork()
        if child == 0:
            connector.close()
            os._exit(any(os.path.lexists(f"/proc/self/fd/{fd}") for fd in fds))
        _, status = os.waitpid(child, 0)
        connector.close()
        thread.join(DEADLINE)

    assert 0 == status


def test_interpreter_exit_ends_the_subscription() -> None:
    code = "from procconn import ProcConnector; connector = ProcConnector()"
    requests = Requests(code)
    result = requests.result

    assert (0, "", "") == (result.returncode, result.stdout, result.stderr)
    assert [LISTEN, IGNORE] == requests.all_sent


@pytest.mark.parametrize("queue", [0, 262_144])
def test_interpreter_exit_ends_the_subscription_of_a_daemon_thread(queue: int) -> None:
    code = f"""
import threading
from pathlib import Path
from procconn import EventMask, ProcConnector
connector = ProcConnector(EventMask.NONE, queue={queue})
thread = threading.Thread(target=connector.recv, daemon=True)
threading.excepthook = lambda _: None
thread.start()
waiting = Path(f"/proc/self/task/{{thread.native_id}}/syscall")
while waiting.read_text().split()[0] != "{NUMBERS["ppoll"]}":
    pass
"""
    requests = Requests(code)
    result = requests.result

    assert (0, "", "") == (result.returncode, result.stdout, result.stderr)
    assert [LISTEN, IGNORE] == requests.all_sent


def test_descriptors_are_not_used_after_close() -> None:
    """New eventfds reuse the descriptors; the closed connector must not use them."""
    for _ in range(30):
        connector = ProcConnector(EventMask.NONE)
        thread, results = start_call(connector.recv)
        wait_until_blocked(thread)
        connector.close()
        counters = [os.eventfd(0, os.EFD_NONBLOCK) for _ in range(6)]
        thread.join(DEADLINE)
        connector.close()
        counters += [os.eventfd(0, os.EFD_NONBLOCK) for _ in range(6)]
        del connector
        gc.collect()
        for fd in counters:
            with contextlib.suppress(BlockingIOError):
                pytest.fail(f"descriptor {fd} was written to: {os.eventfd_read(fd)}")
            os.close(fd)  # fails if the connector closed it

        assert [ConnectionClosedError] == results


def test_repr_shows_open_or_closed(idle: ProcConnector) -> None:
    open_repr = repr(idle)
    idle.close()

    assert "<ProcConnector open>" == open_repr
    assert "<ProcConnector closed>" == repr(idle)
