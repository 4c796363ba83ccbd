"""The queue, which a native background thread fills from the socket."""

import asyncio
import errno
import gc
import os
import resource
import select
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.blocking import is_blocked, system_call_of
from support.live import (
    DEADLINE,
    LARGE_BUFFER,
    PR_SET_NAME,
    cpu_wait_seconds,
    descriptors,
    drain,
    lost_count,
    preserve_name,
    serials_of,
    set_serials,
    wait_for,
)
from support.machine import PYTHON, requires_capacity
from support.sockets import event_socket, kernel_drops
from support.subprocesses import PROGRAMS, program, run, run_python

from procconn import Comm, Event, EventMask, Exit, Lost, ProcConnector

QUEUE = 262_144  # bytes: 3,449 events


@pytest.fixture(autouse=True)
def _restore_name() -> Iterator[None]:
    with preserve_name():
        yield


@pytest.mark.heavy
def test_burst_is_complete_although_the_reader_sleeps() -> None:
    """The queue and the receive buffer hold 470,000 events of a burst of 500,000."""
    count = 500_000

    def burst() -> tuple[int, int, float]:
        with (
            ProcConnector(queue=30_000_000) as connector,
            program("rename", count, 0) as producer,
        ):
            waited = cpu_wait_seconds()
            received = 0
            ended = has_slept = False
            while not ended:
                for event in connector.recv_many(DEADLINE):
                    if isinstance(event, Comm):
                        received += event.pid == producer.pid
                    elif isinstance(event, Exit):
                        ended = ended or event.pid == producer.pid
                if received > count // 10 and not has_slept:
                    has_slept = True
                    time.sleep(0.5)
            return received, connector.lost, cpu_wait_seconds() - waited

    for _ in range(5):
        received, lost, waited = burst()
        if lost == 0 or waited < 0.04:  # else the machine was too busy: repeat
            break

    assert (count, 0) == (received, lost)


@requires_capacity(30_000)
def test_queue_loses_nothing_without_a_reader() -> None:
    """The events are five times what the receive buffer holds."""
    count = 150_000
    with (
        ProcConnector(
            EventMask.COMM | EventMask.EXIT, queue=20_000_000, receive_buffer=25_000_000
        ) as connector,
        program("rename", count, 10_000) as producer,
    ):
        producer.wait(DEADLINE)
        events = drain(connector)

        assert list(range(count)) == serials_of(events, producer.pid)
        assert 0 == connector.lost


@requires_capacity(40_000)
def test_drops_are_counted_if_the_queue_and_the_receive_buffer_are_full() -> None:
    count = 40_000  # the queue holds 3,449 events, the receive buffer 12,000
    with (
        ProcConnector(EventMask.COMM, receive_buffer=LARGE_BUFFER) as witness,
        ProcConnector(
            EventMask.COMM, queue=QUEUE, receive_buffer=10_000_000
        ) as connector,
        program("rename", count, 10_000) as producer,
    ):
        producer.wait(DEADLINE)
        dropped = kernel_drops(connector)
        events = drain(connector)
        set_serials(range(10))
        events += drain(connector)
        lost = connector.lost
        witnessed = drain(witness)

    assert 0 < dropped <= lost == lost_count(events)
    (first, *_) = (i for i, event in enumerate(events) if isinstance(event, Lost))
    own = serials_of(events, producer.pid)
    before = serials_of(events[:first], producer.pid)
    assert list(range(len(before))) == before
    assert sorted(set(own)) == own
    assert list(range(10)) == serials_of(events[first:])
    missing = count - len(own)
    comms = sum(isinstance(event, Comm) for event in witnessed)
    others = comms + lost_count(witnessed) - count
    assert missing <= lost <= missing + others
    assert first + 1 >= QUEUE // 76 - 10  # the capacity of the queue


def test_full_queue_survives_setuid() -> None:
    """The C library interrupts each thread with a signal to call setuid(2)."""
    count = 5_000  # the queue holds 1,700 events
    with ProcConnector(EventMask.COMM, queue=65_536) as connector:
        drain(connector)
        set_serials(range(count))
        wait_for(lambda: is_waiting_for_space(connector))
        os.setuid(os.getuid())
        events: list[Event] = []
        while len(serials_of(events)) < count:
            batch = connector.recv_many(DEADLINE)
            assert batch, "the thread has ended"
            events += batch

        assert list(range(count)) == serials_of(events)
        assert 0 == connector.lost


def test_subscribe_that_empties_a_full_queue_wakes_the_thread() -> None:
    """Otherwise the thread and the reader would wait for each other forever."""
    with ProcConnector(EventMask.COMM, queue=65_536) as connector:
        drain(connector)
        set_serials(range(5_000))  # the queue holds 1,700 events
        wait_for(lambda: is_waiting_for_space(connector))
        connector.subscribe(EventMask.EXIT)
        with subprocess.Popen(["true"]) as process:
            pass
        until = time.monotonic() + DEADLINE
        events: list[Event] = []
        while process.pid not in {
            event.pid for event in events if isinstance(event, Exit)
        }:
            assert time.monotonic() < until
            events += connector.recv_many(DEADLINE)


def is_waiting_for_space(connector: ProcConnector) -> bool:
    """Return whether a thread waits without timeout although there are events."""
    calls = [system_call_of(task) for task in Path("/proc/self/task").iterdir()]
    waits = any(call == "ppoll" and rest[2:3] == ["0x0"] for call, rest in calls)
    return waits and bool(select.select([event_socket(connector)], [], [], 0)[0])


def test_poll_delivers_all_events_caused_before_it() -> None:
    with ProcConnector(EventMask.COMM, queue=QUEUE, max_latency=DEADLINE) as connector:
        for first in range(0, 2_000, 10):
            set_serials(range(first, first + 10))

            assert list(range(first, first + 10)) == serials_of(drain(connector))


@pytest.mark.parametrize("method", ["recv", "recv_raw"])
def test_close_during_a_burst(method: str) -> None:
    gc.collect()
    before = descriptors()
    with program("rename", 10_000_000, 0):
        for _ in range(100):
            with ProcConnector(EventMask.COMM, queue=QUEUE) as connector:
                getattr(connector, method)(DEADLINE)
            assert connector.closed
    wait_for(lambda: descriptors() <= before)


@pytest.mark.parametrize(
    "action", ["pass", "connector.close()", "del connector", "connector.fileno()"]
)
def test_thread_of_the_parent_survives_fork(action: str) -> None:
    code = f"""
import contextlib, ctypes, os, warnings
from procconn import Comm, EventMask, ProcConnector
warnings.simplefilter("ignore", DeprecationWarning)
with ProcConnector(EventMask.COMM, queue={QUEUE}) as connector:
    for number in range(20):
        child = os.fork()
        if child == 0:
            with contextlib.suppress(RuntimeError):
                {action}
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        comms = []
        while b"after %d" % number not in comms:
            # repeat, as an event may be lost
            ctypes.CDLL(None).prctl({PR_SET_NAME}, b"after %d" % number)
            events = connector.recv_many(timeout=30)
            assert events
            comms = [event.comm for event in events if isinstance(event, Comm)]
"""
    result = run_python(code)

    assert (0, "") == (result.returncode, result.stderr)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="requires Python 3.12")
def test_python_warns_about_fork_with_a_background_thread() -> None:
    code = f"""
import gc
import os
from procconn import EventMask, ProcConnector
connector = ProcConnector(EventMask.NONE, queue={QUEUE})
os.fork() or os._exit(0)
connector.close()
"""
    result = run(sys.executable, "-W", "default", "-c", code)

    assert "multi-threaded" in result.stderr


def test_order_is_kept_when_reading_switches_to_the_queue() -> None:
    with ProcConnector(EventMask.COMM) as connector:
        drain(connector)
        set_serials(range(10))
        events = [event for event in [connector.recv(0)] if event]
        set_serials(range(10, 20))

        async def read() -> list[Event]:
            found: list[Event] = []
            while len(serials_of(found)) < 19:
                found += await connector.arecv_many(DEADLINE)
            return found

        events += asyncio.run(read())

    assert list(range(20)) == serials_of(events)


# On asyncio


@requires_capacity(20_000)
def test_arecv_many_delivers_every_event_once_and_in_order() -> None:
    count = 30_000

    async def read(connector: ProcConnector, pid: int) -> list[int]:
        found: list[int] = []
        while not found or found[-1] != count - 1:
            batch = await connector.arecv_many(DEADLINE)
            assert 0 < len(batch) < 4_000
            found += serials_of(batch, pid)
        return found

    with ProcConnector(EventMask.COMM) as connector:
        with program("rename", count, 10_000) as producer:
            found = asyncio.run(read(connector, producer.pid))

        assert list(range(count)) == found
        assert 0 == connector.lost


@pytest.mark.parametrize("timeout", [0, 0.05])
def test_arecv_many_times_out(timeout: float) -> None:
    with ProcConnector(EventMask.NONE) as connector:
        began = time.monotonic()
        events = asyncio.run(connector.arecv_many(timeout))
        elapsed = time.monotonic() - began

    assert [] == events
    assert timeout <= elapsed < DEADLINE / 2


def test_cancelled_arecv_many_loses_no_event() -> None:
    async def read(connector: ProcConnector) -> list[int]:
        found: list[int] = []
        for serial in range(300):
            task = asyncio.ensure_future(connector.arecv_many(DEADLINE))
            for _ in range(serial % 4):
                await asyncio.sleep(0)
            set_serials(range(serial, serial + 1))
            for _ in range(serial % 3):
                await asyncio.sleep(0)
            task.cancel()
            try:
                found += serials_of(await task)
            except asyncio.CancelledError:
                continue
        while not found or found[-1] != 299:
            found += serials_of(await connector.arecv_many(DEADLINE))
        return found

    with ProcConnector(EventMask.COMM) as connector:
        assert list(range(300)) == asyncio.run(read(connector))


def test_second_task_is_refused_while_the_first_waits() -> None:
    async def main(connector: ProcConnector) -> list[Event]:
        first = asyncio.ensure_future(connector.arecv_many(DEADLINE))
        await asyncio.sleep(0.01)
        with pytest.raises(RuntimeError, match="already reading"):
            await connector.arecv_many(DEADLINE)
        connector.close()
        with pytest.raises(Exception, match="closed"):
            await first
        return []

    with ProcConnector(EventMask.NONE) as connector:
        assert [] == asyncio.run(main(connector))


def test_close_by_another_thread_ends_arecv_many() -> None:
    with ProcConnector(EventMask.NONE) as connector:
        ended: list[object] = []

        def read() -> None:
            try:
                asyncio.run(connector.arecv_many(DEADLINE))
            except Exception as error:
                ended.append(type(error).__name__)

        thread = threading.Thread(target=read)
        thread.start()
        wait_for(lambda: is_blocked(thread))
        connector.close()
        thread.join(DEADLINE / 4)

    assert ended[0] in ("ConnectionClosedError", "ValueError")


def test_arecv_many_lets_other_tasks_run_during_a_burst() -> None:
    async def main() -> tuple[int, int]:
        turns = batches = 0

        async def other() -> None:
            nonlocal turns
            while True:
                await asyncio.sleep(0)
                turns += 1

        with ProcConnector(EventMask.COMM) as connector:
            await connector.arecv_many(0)  # starts the thread
            set_serials(range(30_000))
            task = asyncio.create_task(other())
            events: list[Event] = []
            while len(serials_of(events)) < 30_000:
                events += await connector.arecv_many(DEADLINE)
                batches += 1
            task.cancel()
        return turns, batches

    turns, batches = asyncio.run(main())

    assert turns >= batches - 1 > 3


def test_arecv_many_raises_emfile_without_a_free_descriptor() -> None:
    async def main() -> None:
        with ProcConnector(EventMask.NONE) as connector:
            await connector.arecv_many(0)
            limits = resource.getrlimit(resource.RLIMIT_NOFILE)
            free = os.dup(0)
            os.close(free)
            resource.setrlimit(resource.RLIMIT_NOFILE, (free, limits[1]))
            try:
                await connector.arecv_many(DEADLINE)
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, limits)

    with pytest.raises(OSError, match=os.strerror(errno.EMFILE)):
        asyncio.run(main())


@pytest.mark.heavy
def test_memory_of_pending_programs_is_bounded_by_the_queue() -> None:
    """Large arguments fill the queue while the kernel holds 100,000 more events."""
    done = run(*PYTHON, PROGRAMS / "queue_memory.py")

    assert (done.returncode, done.stderr) == (0, "")
