"""The reader is woken at once after a silence, then at most once per max_latency."""

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

BATCH = 32  # datagrams that one call of the kernel brings

queues = pytest.mark.parametrize("queue", [0, 262_144])


def begin_session() -> None:
    """Make an event of a kind that other programs make rarely."""
    subprocess.run(["true"], start_new_session=True, check=True)


def by_recv_many(connector: ProcConnector) -> list[Event]:
    return connector.recv_many(DEADLINE)


def by_arecv_many(connector: ProcConnector) -> list[Event]:
    return asyncio.run(connector.arecv_many(DEADLINE))


@queues
@pytest.mark.parametrize("way", [by_recv_many, by_arecv_many])
def test_a_lone_event_is_there_at_once(way: object, queue: int) -> None:
    """Whatever max_latency is; whosever event comes first, it is the one."""
    assert callable(way)
    with ProcConnector(
        EventMask.SID, queue=queue, max_latency=DEADLINE / 2
    ) as connector:
        began = time.monotonic()
        begin_session()
        events = way(connector)

        assert events
        assert time.monotonic() - began < DEADLINE / 4


@queues
def test_what_follows_waits_no_longer_than_it_may(queue: int) -> None:
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
def test_what_follows_is_gathered_into_one_waking(queue: int) -> None:
    for latency in (0.5, 4, 32):  # longer where a machine is too slow to make them all
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
def test_execs_that_become_complete_share_wakeups(queue: int) -> None:
    """However many programs are run within max_latency."""
    count, latency = 200, 0.05
    script = f"for i in $(seq {count}); do /bin/true; done; exec true"
    execs: Counter[int] = Counter()
    batches = 0
    with ProcConnector(
        EventMask.EXEC, programs=True, queue=queue, max_latency=latency
    ) as connector:
        began = time.monotonic()
        with subprocess.Popen(["sh", "-c", script]) as load:
            while execs[load.pid] < 2:  # sh, and at last true
                events = connector.recv_many(DEADLINE)
                assert events
                execs.update(it.pid for it in events if isinstance(it, Exec))
                batches += 1
        took = time.monotonic() - began

    assert execs.total() >= count
    assert batches <= 2 + took / latency


@queues
def test_a_poll_is_never_delayed(queue: int) -> None:
    with ProcConnector(EventMask.SID, queue=queue, max_latency=DEADLINE) as connector:
        for _ in range(20):
            begin_session()

            assert connector.recv(0) is not None


@queues
def test_a_filling_buffer_ends_the_gathering(queue: int) -> None:
    with ProcConnector(
        EventMask.COMM, queue=queue, max_latency=DEADLINE, receive_buffer=200_000
    ) as connector:
        command = [sys.executable, "-I", str(PROGRAMS / "rename.py")]
        subprocess.run([*command, "1", "0"], check=True)
        assert connector.recv_many(DEADLINE)
        began = time.monotonic()
        subprocess.run([*command, "400", "0"], check=True)  # of the 480 it holds
        events = connector.recv_many(DEADLINE)

    assert events
    assert time.monotonic() - began < DEADLINE / 2


COUNT_CALLS = """
import os, signal, threading
from procconn import *
signal.alarm({patience})
{before}
with ProcConnector(EventMask.UID, max_latency=0) as connector:
    print(flush=True)
    connector.recv()
    os.getppid()
    for _ in range(1000):
        {read}
    os.getppid()
"""

READINGS = {
    "recv": "connector.recv({timeout})",
    "recv_many": "connector.recv_many({timeout})",
    "for": "next(iter(connector))",
    "recv_raw": "connector.recv_raw({timeout})",
}

ANOTHER_THREAD = "threading.Thread(target=threading.Event().wait, daemon=True).start()"


def calls_of_wakings(before: str, read: str) -> Counter[str]:
    """Count what a reader calls while 1,000 events come, but for asking for drops.

    Behind a receive that is "full", as it brought all it had room for, comes another
    one. What brought nothing has the name of its error.
    """
    if not shutil.which("strace"):
        pytest.skip("takes strace")
    code = COUNT_CALLS.format(before=before, read=read, patience=int(DEADLINE))
    began = time.monotonic()
    with tempfile.NamedTemporaryFile() as log:
        strace = ["strace", "-qq", "-e", "signal=none", "-o", log.name]
        strace += ["-e", "trace=!mmap,munmap,brk,madvise"]  # Python's, for memory
        with subprocess.Popen(
            [*strace, sys.executable, "-c", code], stdout=subprocess.PIPE, text=True
        ) as reader:
            assert reader.stdout
            reader.stdout.readline()
            number = (sys.executable, "-I", PROGRAMS / "set_uids.py")
            while reader.poll() is None:
                assert 0 == run(*map(str, number), "500", "1000000").returncode
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
    assert names.pop("getsockopt", 0) <= 1 + took  # once a second
    return names


def has_thread_count() -> bool:
    """Return whether the C library exports __libc_single_threaded."""
    return hasattr(ctypes.CDLL(None), "__libc_single_threaded")


@pytest.mark.skipif(os.geteuid() != 0, reason="takes root")
@pytest.mark.parametrize(
    ("way", "timeout", "before"),
    [
        *((way, "", ANOTHER_THREAD) for way in READINGS),
        *((way, "30", "") for way in READINGS if way != "for"),
    ],
)
def test_a_waking_takes_two_system_calls(way: str, timeout: str, before: str) -> None:
    """The wait and the receive, where nobody has asked for the descriptor."""
    names = calls_of_wakings(before, READINGS[way].format(timeout=timeout))

    others = names.total() - names["full"]
    assert 0 < names["ppoll"]
    assert others <= 2 * names["ppoll"] + 1, names


@pytest.mark.skipif(os.geteuid() != 0, reason="takes root")
@pytest.mark.skipif(not has_thread_count(), reason="takes glibc 2.32")
@pytest.mark.parametrize("way", READINGS)
def test_a_waking_takes_one_system_call_where_nobody_can_close(way: str) -> None:
    """Without other threads and without a deadline, the receive waits."""
    names = calls_of_wakings("", READINGS[way].format(timeout=""))

    assert 0 < names["recvmmsg"]
    assert names["EAGAIN"] <= names["full"]
    assert {"recvmmsg", "EAGAIN", "full"} >= names.keys()
