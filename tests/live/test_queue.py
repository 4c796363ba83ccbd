"""A native thread receives into the queue while the program does something else."""

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
def test_a_storm_arrives_whole_while_the_reader_sleeps() -> None:
    """Only a starved machine may lose some: the queue and the kernel hold 470,000."""
    count = 500_000

    def storm() -> tuple[int, int, float]:
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
        received, lost, waited = storm()
        if lost == 0 or waited < 0.04:  # else others had this machine's processors
            break

    assert (count, 0) == (received, lost)


@requires_capacity(30_000)
def test_who_does_not_read_loses_nothing_that_the_queue_holds() -> None:
    """Five times what the receive buffer holds."""
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
def test_a_full_queue_leaves_the_rest_to_the_kernel_which_counts() -> None:
    count = 40_000  # the queue holds 3,449, the kernel's buffer 12,000
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
        seen = drain(witness)

    assert 0 < dropped <= lost == lost_count(events)
    (first, *_) = (i for i, event in enumerate(events) if isinstance(event, Lost))
    own = serials_of(events, producer.pid)
    before = serials_of(events[:first], producer.pid)
    assert list(range(len(before))) == before
    assert sorted(set(own)) == own
    assert list(range(10)) == serials_of(events[first:])
    missing = count - len(own)
    others = sum(isinstance(event, Comm) for event in seen) + lost_count(seen) - count
    assert missing <= lost <= missing + others
    assert first + 1 >= QUEUE // 76 - 10  # what it holds


def test_a_full_queue_outlives_a_change_of_the_user() -> None:
    """The C library interrupts all threads, to have each make it."""
    count = 5_000  # the queue holds 1,700
    with ProcConnector(EventMask.COMM, queue=65_536) as connector:
        drain(connector)
        set_serials(range(count))
        wait_for(lambda: is_waiting_for_room(connector))
        os.setuid(os.getuid())
        events: list[Event] = []
        while len(serials_of(events)) < count:
            batch = connector.recv_many(DEADLINE)
            assert batch, "the thread has ended"
            events += batch

        assert list(range(count)) == serials_of(events)
        assert 0 == connector.lost


def test_a_changed_mask_that_empties_a_full_queue_wakes_the_thread() -> None:
    """Else it and the reader would wait for each other for ever."""
    with ProcConnector(EventMask.COMM, queue=65_536) as connector:
        drain(connector)
        set_serials(range(5_000))  # the queue holds 1,700
        wait_for(lambda: is_waiting_for_room(connector))
        connector.subscribe(EventMask.EXIT)
        with subprocess.Popen(["true"]) as process:
            pass
        until = time.monotonic() + DEADLINE
        events: list[Event] = []
        while process.pid not in {it.pid for it in events if isinstance(it, Exit)}:
            assert time.monotonic() < until
            events += connector.recv_many(DEADLINE)


def is_waiting_for_room(connector: ProcConnector) -> bool:
    """Whether there are events, but a thread waits for something else, without end."""
    calls = [system_call_of(task) for task in Path("/proc/self/task").iterdir()]
    waits = any(call == "ppoll" and rest[2:3] == ["0x0"] for call, rest in calls)
    return waits and bool(select.select([event_socket(connector)], [], [], 0)[0])


def test_a_poll_brings_what_was_caused_before_it() -> None:
    with ProcConnector(EventMask.COMM, queue=QUEUE, max_latency=DEADLINE) as connector:
        for first in range(0, 2_000, 10):
            set_serials(range(first, first + 10))

            assert list(range(first, first + 10)) == serials_of(drain(connector))


@pytest.mark.parametrize("way", ["recv", "recv_raw"])
def test_closing_at_any_moment_of_a_storm_just_ends_it(way: str) -> None:
    gc.collect()
    before = descriptors()
    with program("rename", 10_000_000, 0):
        for _ in range(100):
            with ProcConnector(EventMask.COMM, queue=QUEUE) as connector:
                getattr(connector, way)(DEADLINE)
            assert connector.closed
    wait_for(lambda: descriptors() <= before)


@pytest.mark.parametrize(
    "action", ["pass", "connector.close()", "del connector", "connector.fileno()"]
)
def test_a_fork_leaves_the_parent_its_thread(action: str) -> None:
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
            # again: one may be lost
            ctypes.CDLL(None).prctl({PR_SET_NAME}, b"after %d" % number)
            events = connector.recv_many(timeout=30)
            assert events
            comms = [event.comm for event in events if isinstance(event, Comm)]
"""
    result = run_python(code)

    assert (0, "") == (result.returncode, result.stderr)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="said from Python 3.12 on")
def test_a_fork_with_a_second_thread_is_warned_of() -> None:
    code = f"""
import gc
import os
from procconn import EventMask, ProcConnector
connector = ProcConnector(EventMask.NONE, queue={QUEUE})
os.fork() or os._exit(0)
connector.close()
"""
    result = run(sys.executable, "-W", "default", "-c", code)  # no error before 3.15

    assert "multi-threaded" in result.stderr


def test_the_order_is_kept_between_what_waited_before_and_the_queue() -> None:
    with ProcConnector(EventMask.COMM) as connector:
        drain(connector)
        set_serials(range(10))
        events = [event for event in [connector.recv(0)] if event]
        set_serials(range(10, 20))

        async def rest() -> list[Event]:
            found: list[Event] = []
            while len(serials_of(found)) < 19:
                found += await connector.arecv_many(DEADLINE)
            return found

        events += asyncio.run(rest())

    assert list(range(20)) == serials_of(events)


# On asyncio


@requires_capacity(20_000)
def test_arecv_many_brings_everything_once_and_in_order() -> None:
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
def test_arecv_many_comes_back_with_nothing_in_time(timeout: float) -> None:
    with ProcConnector(EventMask.NONE) as connector:
        began = time.monotonic()
        events = asyncio.run(connector.arecv_many(timeout))
        elapsed = time.monotonic() - began

    assert [] == events
    assert timeout <= elapsed < DEADLINE / 2


def test_a_cancelled_arecv_many_loses_nothing() -> None:
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


def test_a_second_task_is_refused_and_the_first_unharmed() -> None:
    async def main(connector: ProcConnector) -> list[Event]:
        first = asyncio.ensure_future(connector.arecv_many(DEADLINE))
        await asyncio.sleep(0.01)
        with pytest.raises(RuntimeError, match="being read already"):
            await connector.arecv_many(DEADLINE)
        connector.close()
        with pytest.raises(Exception, match="closed"):
            await first
        return []

    with ProcConnector(EventMask.NONE) as connector:
        assert [] == asyncio.run(main(connector))


def test_closing_from_a_thread_ends_a_blocked_arecv_many() -> None:
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


def test_other_tasks_have_their_turns_however_long_a_burst_lasts() -> None:
    async def main() -> tuple[int, int]:
        turns = batches = 0

        async def other() -> None:
            nonlocal turns
            while True:
                await asyncio.sleep(0)
                turns += 1

        with ProcConnector(EventMask.COMM) as connector:
            await connector.arecv_many(0)  # from now on, the queue has space
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


def test_without_a_descriptor_to_wait_with_asyncio_is_told_so() -> None:
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
def test_programs_and_what_follows_them_take_no_more_memory_than_the_queue() -> None:
    """Large arguments fill the queue while the kernel holds 100,000 events more."""
    done = run(*PYTHON, PROGRAMS / "queue_memory.py")

    assert (done.returncode, done.stderr) == (0, "")
