"""An idle reader wakes at once, then at most once per `max_latency`."""

import asyncio
import ctypes
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import pytest
from support.live import DEADLINE, drain
from support.subprocesses import PROGRAMS, run

from procconn import Event, EventMask, Exec, ProcConnector

BATCH = 32  # datagrams that one recvmmsg(2) call receives at most

queues = pytest.mark.parametrize("queue", [0, 262_144])


def begin_session() -> None:
    """Cause an event of a kind that other programs cause rarely."""
    subprocess.run(["true"], start_new_session=True, check=True)


def by_recv_many(connector: ProcConnector) -> list[Event]:
    return connector.recv_many(DEADLINE)


def by_arecv_many(connector: ProcConnector) -> list[Event]:
    return asyncio.run(connector.arecv_many(DEADLINE))


@queues
@pytest.mark.parametrize("read", [by_recv_many, by_arecv_many])
def test_first_event_is_delivered_at_once(read: object, queue: int) -> None:
    """Despite a long max_latency. An event of another program may come first."""
    assert callable(read)
    with ProcConnector(
        EventMask.SID, queue=queue, max_latency=DEADLINE / 2
    ) as connector:
        began = time.monotonic()
        begin_session()
        events = read(connector)

        assert events
        assert time.monotonic() - began < DEADLINE / 4


@queues
def test_later_event_is_delayed_by_max_latency_at_most(queue: int) -> None:
    latency = 0.5
    with ProcConnector(EventMask.SID, queue=queue, max_latency=latency) as connector:
        begin_session()
        assert connector.recv_many(DEADLINE)
        first = time.monotonic()
        begin_session()
        assert connector.recv_many(DEADLINE)
        waited = time.monotonic() - first

    assert waited < DEADLINE / 4


@queues
def test_later_events_are_coalesced_into_one_wakeup(queue: int) -> None:
    for latency in (0.5, 4, 32):  # seconds; a slow machine needs longer for the events
        with ProcConnector(
            EventMask.SID, queue=queue, max_latency=latency
        ) as connector:
            drain(connector)
            began = time.monotonic()
            begin_session()
            assert connector.recv_many(DEADLINE)
            for _ in range(3):
                begin_session()
            took = time.monotonic() - began
            events = connector.recv_many(DEADLINE)
        if took < latency:
            break

    assert took < latency
    assert len(events) >= 3


@queues
def test_events_of_many_execs_share_wakeups(queue: int) -> None:
    """Events that become complete, with their program, are coalesced like others."""
    count, latency = 200, 0.05
    script = f"for i in $(seq {count}); do /bin/true; done; exec true"
    execs: Counter[int] = Counter()
    batches = 0
    with ProcConnector(
        EventMask.EXEC, programs=True, queue=queue, max_latency=latency
    ) as connector:
        began = time.monotonic()
        with subprocess.Popen(["sh", "-c", script]) as load:
            while execs[load.pid] < 2:  # sh, and finally true
                events = connector.recv_many(DEADLINE)
                assert events
                execs.update(event.pid for event in events if isinstance(event, Exec))
                batches += 1
        took = time.monotonic() - began

    assert execs.total() >= count
    assert batches <= 2 + took / latency


@queues
def test_poll_is_never_delayed(queue: int) -> None:
    with ProcConnector(EventMask.SID, queue=queue, max_latency=DEADLINE) as connector:
        for _ in range(20):
            begin_session()

            assert connector.recv(0) is not None


@queues
def test_filling_receive_buffer_ends_coalescing(queue: int) -> None:
    with ProcConnector(
        EventMask.COMM, queue=queue, max_latency=DEADLINE, receive_buffer=200_000
    ) as connector:
        command = [sys.executable, "-I", str(PROGRAMS / "rename.py")]
        subprocess.run([*command, "1", "0"], check=True)
        assert connector.recv_many(DEADLINE)
        began = time.monotonic()
        subprocess.run([*command, "400", "0"], check=True)  # the buffer holds 480
        events = connector.recv_many(DEADLINE)

    assert events
    assert time.monotonic() - began < DEADLINE / 2


COUNT_CALLS = """
import os, signal, threading
from procconn import *
signal.alarm({timeout})
{before}
with ProcConnector(EventMask.UID, max_latency=0) as connector:
    print(flush=True)
    connector.recv()
    os.getppid()
    for _ in range(1000):
        {read}
    os.getppid()
"""

READS = {
    "recv": "connector.recv({timeout})",
    "recv_many": "connector.recv_many({timeout})",
    "for": "next(iter(connector))",
    "recv_raw": "connector.recv_raw({timeout})",
}

ANOTHER_THREAD = "threading.Thread(target=threading.Event().wait, daemon=True).start()"


def count_calls(before: str, read: str) -> Counter[str]:
    """Count the system calls of a reader while it reads 1,000 times.

    getsockopt(2) calls, which ask for drops, are not included. Receives of BATCH
    datagrams count as "full": another receive follows them. Failed calls count under
    the name of their error.
    """
    if not shutil.which("strace"):
        pytest.skip("requires strace")
    code = COUNT_CALLS.format(before=before, read=read, timeout=int(DEADLINE))
    began = time.monotonic()
    with tempfile.NamedTemporaryFile() as log:
        strace = ["strace", "-qq", "-e", "signal=none", "-o", log.name]
        strace += ["-e", "trace=!mmap,munmap,brk,madvise"]  # Python's memory allocator
        with subprocess.Popen(
            [*strace, sys.executable, "-c", code], stdout=subprocess.PIPE, text=True
        ) as reader:
            assert reader.stdout
            reader.stdout.readline()
            set_uids = (sys.executable, "-I", str(PROGRAMS / "set_uids.py"))
            while reader.poll() is None:
                assert 0 == run(*set_uids, "500", "1000000").returncode
        lines = Path(log.name).read_text().splitlines()
    took = time.monotonic() - began

    assert 0 == reader.returncode
    first, last = (i for i, line in enumerate(lines) if line.startswith("getppid"))
    calls = [
        re.search(r"= -1 (\w+)", line) or re.match(r"(\w+)", line)
        for line in lines[first + 1 : last]
        if not line.endswith(f"= {BATCH}")
    ]
    names = Counter(call[1] for call in calls if call)
    names["full"] = last - first - 1 - len(calls)
    # Once a second, and between the receives of a drain that takes several.
    assert names.pop("getsockopt", 0) <= 1 + took + names["full"]
    return names


def has_thread_count() -> bool:
    """Return whether the C library exports __libc_single_threaded."""
    return hasattr(ctypes.CDLL(None), "__libc_single_threaded")


@pytest.mark.skipif(os.geteuid() != 0, reason="requires root")
@pytest.mark.parametrize(
    ("mode", "timeout", "before"),
    [
        *((mode, "", ANOTHER_THREAD) for mode in READS),
        *((mode, "30", "") for mode in READS if mode != "for"),
    ],
)
def test_wakeup_takes_two_system_calls(mode: str, timeout: str, before: str) -> None:
    """ppoll(2) and recvmmsg(2), if fileno() was not called."""
    names = count_calls(before, READS[mode].format(timeout=timeout))

    others = names.total() - names["full"]
    assert 0 < names["ppoll"]
    assert others <= 2 * names["ppoll"] + 1, names


@pytest.mark.skipif(os.geteuid() != 0, reason="requires root")
@pytest.mark.skipif(not has_thread_count(), reason="requires glibc 2.32")
@pytest.mark.parametrize("mode", READS)
def test_wakeup_takes_one_system_call_in_a_single_threaded_process(mode: str) -> None:
    """No other thread can close the connector, so recvmmsg(2) itself waits."""
    names = count_calls("", READS[mode].format(timeout=""))

    assert 0 < names["recvmmsg"]
    assert names["EAGAIN"] <= names["full"]
    assert {"recvmmsg", "EAGAIN", "full"} >= names.keys()
