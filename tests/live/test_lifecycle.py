"""A connector's life in a real program: closed at any moment, forked, forgotten."""

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
def _own_name() -> Iterator[None]:
    with preserve_name():
        yield


@pytest.fixture
def silent() -> Iterator[ProcConnector]:
    """Subscribe to nothing."""
    with ProcConnector(EventMask.NONE) as connector:
        yield connector


def result_of(call: Callable[[], object]) -> tuple[threading.Thread, list[object]]:
    """Start a thread; what it returns or raises will be in the list."""
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


async def collected(connector: ProcConnector) -> list[object]:
    return [event async for event in connector]


ITERATIONS: dict[str, Callable[[ProcConnector], object]] = {
    "for": list,
    "async for": lambda connector: asyncio.run(collected(connector)),
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
def test_closing_from_another_thread_ends_a_blocked_call(
    silent: ProcConnector, call: Callable[[ProcConnector], object]
) -> None:
    thread, results = result_of(lambda: call(silent))
    wait_until_blocked(thread)
    silent.close()
    thread.join(DEADLINE)

    assert [ConnectionClosedError] == results
    assert silent.closed


def test_closing_from_another_thread_ends_an_iteration(silent: ProcConnector) -> None:
    thread, results = result_of(lambda: list(silent))
    wait_until_blocked(thread)
    silent.close()
    thread.join(DEADLINE)

    assert [[]] == results


def test_closing_from_another_thread_ends_an_async_iteration(
    silent: ProcConnector,
) -> None:
    begun = threading.Event()

    async def main() -> list[object]:
        asyncio.get_running_loop().call_later(0.05, begun.set)
        return await collected(silent)

    thread, results = result_of(lambda: asyncio.run(main()))
    assert begun.wait(DEADLINE)
    silent.close()
    thread.join(DEADLINE)

    assert [[]] == results


def test_closing_from_the_loop_that_iterates_ends_the_iteration() -> None:
    async def main() -> list[object]:
        async with ProcConnector(EventMask.NONE) as connector:
            asyncio.get_running_loop().call_later(0.05, connector.close)
            return await collected(connector)

    assert [] == asyncio.run(asyncio.wait_for(main(), DEADLINE))


def test_a_cancelled_task_leaves_the_connector_usable(silent: ProcConnector) -> None:
    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await collected(silent)

    asyncio.run(main())
    silent.subscribe(EventMask.COMM)
    set_serials(range(3))

    assert [0, 1, 2] == serials_of(drain(silent))


def test_closing_twice_is_once(silent: ProcConnector) -> None:
    silent.close()
    silent.close()

    assert silent.closed


@pytest.mark.parametrize(
    "seconds", [1e10, 1e308, 10**400], ids=["centuries", "float", "int"]
)
def test_a_time_may_be_longer_than_anyone_waits(seconds: float) -> None:
    with (
        preserve_name(),
        ProcConnector(EventMask.COMM, timeout=seconds, heartbeat=seconds) as connector,
    ):
        set_serials(range(1))

        assert connector.recv(seconds) is not None

    with ProcConnector(EventMask.NONE, max_latency=seconds) as connector:
        assert connector.recv(0) is None


@pytest.mark.parametrize("call", ALL_CALLS.values(), ids=ALL_CALLS)
def test_using_a_closed_connector_is_a_value_error(
    silent: ProcConnector, call: Callable[[ProcConnector], object]
) -> None:
    silent.close()

    with pytest.raises(ValueError, match="closed"):
        call(silent)


def test_a_closed_connector_still_tells_what_was_lost() -> None:
    with ProcConnector(EventMask.COMM, receive_buffer=2304) as connector:
        set_serials(range(100))
        lost = connector.lost
        connector.recv_many()

    assert 0 < lost <= connector.lost


def test_a_signal_handler_may_close_what_it_interrupts(silent: ProcConnector) -> None:
    fd = event_socket(silent)
    with (
        alarm(lambda *_: silent.close(), 0.05),
        pytest.raises(ConnectionClosedError),
    ):
        silent.recv(timeout=DEADLINE)

    assert not Path(f"/proc/self/fd/{fd}").is_symlink()


def test_a_signal_handler_may_end_an_iteration(silent: ProcConnector) -> None:
    with alarm(lambda *_: silent.close(), 0.05):
        events = list(silent)

    assert [] == events


ALONE = """
import signal, threading
from procconn import *
signal.alarm({patience})
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
def test_a_signal_ends_the_waiting_of_a_process_with_one_thread(
    action: str, printed: str, interrupts: bool, max_latency: float
) -> None:
    """Also if all it does is to start a thread, which closes while that waits again.

    And also if the system is to restart calls, which it does with most that wait.
    """
    code = ALONE.format(
        action=action,
        interrupts=interrupts,
        max_latency=max_latency,
        patience=int(DEADLINE / 2),
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
def test_closing_at_any_moment_before_the_waiting_ends_it_too(
    call: Callable[[ProcConnector], object], queue: int, max_latency: float
) -> None:
    """What comes when the connector was found to be open must not wait for ever."""
    seen = []
    for point in range(1000):
        injection = Injection(point)
        with ProcConnector(
            EventMask.NONE, queue=queue, max_latency=max_latency
        ) as connector:

            def closed_in_between() -> object:
                with injection.armed(connector.close):  # noqa: B023
                    return call(connector)

            thread, results = result_of(closed_in_between)
            wait_for(lambda: results or is_blocked(thread))  # noqa: B023
            in_time = bool(results)
            connector.close()
            thread.join(DEADLINE / 4)

        assert results in ([ValueError], [ConnectionClosedError], [[]])
        seen += [results != [ValueError]]
        if not in_time:
            break

    assert not in_time
    assert len(seen) > 3
    assert sorted(seen) == seen  # a ValueError is for what was closed before the call


def test_closing_at_any_moment_of_a_busy_iteration_just_ends_it() -> None:
    for _ in range(100):
        with ProcConnector(EventMask.COMM) as connector:

            def read(events: Iterator[Event] = iter(connector)) -> int:  # noqa: B008
                return sum(1 for _ in events)

            thread, results = result_of(read)
            set_serials(range(200))
            connector.close()
            thread.join(DEADLINE)

        assert [int] == [type(result) for result in results]


def test_a_forgotten_connector_is_closed_with_a_warning() -> None:
    def forget() -> None:
        ProcConnector(EventMask.NONE)
        gc.collect()

    gc.collect()
    before = descriptors()
    with pytest.warns(ResourceWarning, match="unclosed <ProcConnector open>"):
        forget()

    assert descriptors() <= before


def test_a_connector_goes_with_the_last_iterator_over_it() -> None:
    """Without the help of the cyclic collector."""
    gc.collect()
    before = descriptors()
    gc.disable()
    try:
        iterator = iter(ProcConnector(EventMask.COMM))
        set_serials(range(3))
        first = [next(iterator)]
        while 1 not in serials_of(first):
            first.append(next(iterator))
        with pytest.warns(ResourceWarning, match="unclosed <ProcConnector open>"):
            del iterator

        assert descriptors() <= before
    finally:
        gc.enable()


def test_an_iterator_in_a_cycle_with_its_connector_is_collected() -> None:
    class Owner(ProcConnector):
        iterator: Iterator[Event]

    gc.collect()
    before = descriptors()
    with Owner(EventMask.NONE) as connector:
        connector.iterator = iter(connector)
    del connector
    gc.collect()

    assert descriptors() <= before
    assert not any(isinstance(it, Owner) for it in gc.get_objects())


FORGET_IN_CHILD = """
import contextlib, gc, os, warnings
from procconn import EventMask, ProcConnector
warnings.simplefilter("ignore", DeprecationWarning)  # of a fork beside a thread
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


def test_a_forked_child_may_forget_what_its_iterator_still_has() -> None:
    result = run_python(FORGET_IN_CHILD)

    assert (0, "") == (result.returncode, result.stderr)


def test_two_hundred_connectors_leave_no_descriptor() -> None:
    gc.collect()
    before = descriptors()
    for _ in range(200):
        with ProcConnector() as connector:
            connector.recv_many(timeout=0)

    assert descriptors() <= before


@pytest.mark.parametrize(
    ("queue", "spare"), [(0, 0), (0, 1), (0, 2), (262_144, 3), (262_144, 4)]
)
def test_a_connector_that_cannot_be_opened_leaves_no_descriptor(
    queue: int, spare: int
) -> None:
    """The first descriptors that it needs can be opened, but not the next."""
    gc.collect()
    before = descriptors()
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = max(int(fd) for fd in os.listdir("/proc/self/fd"))
    # The limit is on the number, so those below it are taken.
    fillers = [os.dup(0)]
    while fillers[-1] < most:
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


def test_connectors_of_one_program_do_not_disturb_each_other() -> None:
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


def test_a_second_reader_is_refused_and_the_first_unharmed() -> None:
    with ProcConnector(EventMask.SID) as connector:
        thread, results = result_of(connector.recv_many)
        wait_until_blocked(thread)
        for call in CALLS.values():
            with pytest.raises(RuntimeError, match="being read already"):
                call(connector)
        with pytest.raises(RuntimeError, match="being read already"):
            next(iter(connector))
        run_python("import os; os.fork() or os.setsid()")
        thread.join(DEADLINE)

    assert results
    assert isinstance(results[0], list)


@pytest.mark.parametrize("late", ["recv", "recv_many", "for"])
@pytest.mark.parametrize("early", ["recv", "recv_many", "for"])
def test_a_reader_overtaken_by_another_leaves_it_its_events(
    late: str, early: str
) -> None:
    """By one in the midst of it, at any moment, when more has come meanwhile."""

    def read(connector: ProcConnector, way: str) -> list[Event]:
        if way == "recv_many":
            return connector.recv_many(timeout=0)
        event = next(iter(connector)) if way == "for" else connector.recv(timeout=0)
        return [event] if event else []

    def read_both(injection: Injection) -> None:
        with ProcConnector(EventMask.COMM) as connector:
            drain(connector)
            set_serials(range(10))
            events: list[Event] = []

            def overtake() -> None:
                set_serials(range(10, 20))
                events.extend(read(connector, early))
                set_serials(range(20, 21))  # lest an iteration waits for ever

            with injection.armed(overtake):
                events += read(connector, late)
            events += drain(connector)

        if injection.reached:
            assert list(range(21)) == sorted(serials_of(events))

    # Points of the methods; test_interruptions has those in an iterator.
    assert inject_at_each_point(read_both) > 2


@pytest.fixture
def restless() -> Iterator[None]:
    """Let threads take turns as often as can be."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@requires_capacity(10_000)
@pytest.mark.usefixtures("restless")
@pytest.mark.parametrize("queue", [0, 1 << 20])
@pytest.mark.parametrize("way", ["recv", "recv_many", "each its own", "for"])
def test_readers_in_two_threads_get_an_error_or_events_of_their_own(
    way: str, queue: int
) -> None:
    count = 10_000
    with ProcConnector(EventMask.COMM, max_latency=0, queue=queue) as connector:
        own = threading.get_native_id()
        done = threading.Event()
        seen: tuple[list[int], list[int]] = ([], [])

        def read(index: int) -> None:
            one_by_one = way == "recv" or (way == "each its own" and index == 0)
            while not done.is_set():
                try:
                    if way == "for":
                        for event in connector:
                            seen[index].extend(serials_of([event], own))
                            if sum(map(len, seen)) == count:
                                done.set()
                        continue
                    if one_by_one:
                        one = connector.recv(timeout=0.01)
                        events = [one] if one else []
                    else:
                        events = connector.recv_many(timeout=0.01)
                except (RuntimeError, ValueError):
                    continue  # another one reads, or has closed it
                seen[index].extend(serials_of(events, own))
                if sum(map(len, seen)) == count:
                    done.set()

        threads = [threading.Thread(target=read, args=(index,)) for index in (0, 1)]
        for thread in threads:
            thread.start()
        set_serials(range(count))
        done.wait(DEADLINE)
        done.set()
        if way == "for":
            connector.close()
        for thread in threads:
            thread.join(DEADLINE)

    assert list(range(count)) == sorted([*seen[0], *seen[1]])


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
def test_what_a_forked_child_does_does_not_touch_the_subscription(
    action: str, end: str
) -> None:
    code = FORK.format(action=action, end=end, PR_SET_NAME=PR_SET_NAME)
    requests = Requests(code)
    result = requests.result

    assert (0, "", "") == (result.returncode, result.stdout, result.stderr)
    assert [[LISTEN, IGNORE]] == list(requests.sent.values())


@pytest.mark.parametrize("call", ["unsubscribe", "subscribe", "recv_many"])
def test_a_forked_child_is_refused_what_its_parent_would_miss(call: str) -> None:
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
def test_a_forked_child_does_not_get_what_its_parent_will(call: str) -> None:
    """What is decoded and not taken yet."""
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


def test_one_that_is_dropped_is_closed_whatever_handlers_raise() -> None:
    """In no Python code that runs then can a signal keep it open."""
    result = run(*PYTHON, PROGRAMS / "interrupted_drop.py")

    assert (0, "") == (result.returncode, result.stderr)


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_forked_child_closes_its_copy_while_the_parent_reads() -> None:
    with ProcConnector(EventMask.NONE) as connector:
        thread, _ = result_of(connector.recv)
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


def test_the_end_of_the_interpreter_ends_the_subscription() -> None:
    code = "from procconn import ProcConnector; connector = ProcConnector()"
    requests = Requests(code)
    result = requests.result

    assert (0, "", "") == (result.returncode, result.stdout, result.stderr)
    assert [LISTEN, IGNORE] == requests.all_sent


@pytest.mark.parametrize("queue", [0, 262_144])
def test_the_end_of_the_interpreter_ends_it_under_a_daemon_thread(queue: int) -> None:
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


def test_a_descriptor_is_not_used_after_the_close() -> None:
    """Event counters that get the freed numbers are neither written to nor closed."""
    for _ in range(30):
        connector = ProcConnector(EventMask.NONE)
        thread, results = result_of(connector.recv)
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
                pytest.fail(f"{fd} counts {os.eventfd_read(fd)}")
            os.close(fd)  # fails if somebody else did it

        assert [ConnectionClosedError] == results


def test_an_unclosed_connector_says_so_in_its_representation(
    silent: ProcConnector,
) -> None:
    open_form = repr(silent)
    silent.close()

    assert "<ProcConnector open>" == open_form
    assert "<ProcConnector closed>" == repr(silent)
