"""taskstats records of the running kernel, matched with their EXIT events."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.live import DEADLINE
from support.machine import KERNEL
from support.subprocesses import PROGRAMS, run_python, spawn

from procconn import Event, EventMask, Exit, ProcConnector
from procconn._core import ffi, lib
from procconn._stream import new_filter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from procconn._core import TaskRecord

RECEIVE_BUFFER = 32 << 20
HAS_TGID = KERNEL >= (5, 19)  # TASKSTATS_VERSION 12 added ac_tgid
SHORT_COMMANDS = 1000
COSTLY = str(PROGRAMS / "costly.py")
LEADER_ENDS_FIRST = str(PROGRAMS / "leader_ends_first.py")
THREAD_EXECS = str(PROGRAMS / "thread_execs.py")


class Meter:
    """Receives taskstats records, and EXIT events from a separate connector."""

    def __init__(self, receive_buffer: int = RECEIVE_BUFFER) -> None:
        error = ffi.new("int *")
        self.usage = lib.procconn_usage_open(receive_buffer, error)
        if self.usage == ffi.NULL:
            raise OSError(-error[0], os.strerror(-error[0]))
        self.connector = ProcConnector(EventMask.EXIT)
        self.filter = new_filter(EventMask.EXIT, threads=True)

    def close(self) -> None:
        """Close the connector and the taskstats socket."""
        self.connector.close()
        lib.procconn_usage_close(self.usage)

    @property
    def lost(self) -> int:
        """Number of lost records."""
        return lib.procconn_usage_lost(self.usage)

    def drain(self, *, exits_are_missing: bool = False) -> None:
        """Receive the queued records."""
        lib.procconn_usage_drain(self.usage, self.filter, exits_are_missing)

    def take(self, event: Exit) -> TaskRecord | None:
        """Remove and return the record of an EXIT."""
        record = ffi.new("struct procconn_task_record *")
        task_exit = ffi.new(
            "struct procconn_task_exit *",
            {
                "pid": event.pid,
                "tgid": event.tgid,
                "exit_code": event.exit_code,
                "has_parent": event.parent_pid != 0,
                "timestamp_ns": event.timestamp_ns,
            },
        )
        found = lib.procconn_usage_take(self.usage, task_exit, record)
        return record if found else None

    def measure(
        self, matches: Callable[[Exit], bool], count: int
    ) -> list[tuple[Exit, TaskRecord | None]]:
        """Wait for `count` matching EXITs; return them with their records."""
        measured: list[tuple[Exit, TaskRecord | None]] = []
        deadline = time.monotonic() + DEADLINE
        while len(measured) < count:
            assert time.monotonic() < deadline, f"{len(measured)} of {count} exits"
            exits = exits_of(self.connector.recv_many(1))
            self.drain()
            measured += [(event, self.take(event)) for event in exits if matches(event)]
        return measured

    def records_of(self, tgid: int, tasks: int) -> list[TaskRecord]:
        """Return the records of a process of which `tasks` tasks exit."""
        records = [record for _, record in self.measure(is_of(tgid), tasks)]
        assert None not in records
        return [record for record in records if record is not None]

    def exits(self, matches: Callable[[Exit], bool], count: int) -> list[Exit]:
        """Wait for `count` matching EXITs, without taking records."""
        exits: list[Exit] = []
        deadline = time.monotonic() + DEADLINE
        while len(exits) < count:
            assert time.monotonic() < deadline, f"{len(exits)} of {count} exits"
            exits += filter(matches, exits_of(self.connector.recv_many(1)))
        return exits


def is_of(tgid: int) -> Callable[[Exit], bool]:
    return lambda event: event.tgid == tgid


def exits_of(events: list[Event]) -> list[Exit]:
    return [event for event in events if isinstance(event, Exit)]


def sum_of(records: list[TaskRecord], name: str) -> int:
    return sum(getattr(record, name) for record in records)


@pytest.fixture
def meter() -> Iterator[Meter]:
    try:
        meter = Meter()
    except OSError as error:
        pytest.skip(f"requires taskstats: {error}")
    yield meter
    meter.close()


@pytest.mark.heavy
def test_every_short_process_has_its_own_record(meter: Meter) -> None:
    """Exactly the large processes, one in fifty, have a large peak_rss."""
    command = (sys.executable, "-S", "-c", "b'x' * (64 << 20)")
    large: set[int] = set()
    pids: set[int] = set()

    def start(count: int) -> None:
        for number in range(count):
            pid = spawn(*command) if number % 50 == 0 else spawn("/bin/true")
            pids.add(pid)
            if number % 50 == 0:
                large.add(pid)
            os.waitpid(pid, 0)

    starters = [
        threading.Thread(target=start, args=[SHORT_COMMANDS // 2]) for _ in range(2)
    ]
    for thread in starters:
        thread.start()
    peaks: dict[int, int | None] = {}
    while any(thread.is_alive() for thread in starters) or not pids <= peaks.keys():
        for event, record in meter.measure(lambda _: True, 1):
            peaks[event.pid] = None if record is None else record.peak_rss
    for thread in starters:
        thread.join()

    assert len(pids) == SHORT_COMMANDS
    assert [] == [pid for pid in pids if peaks[pid] is None]
    assert large == {pid for pid in pids if (peaks[pid] or 0) > 64 << 20}


def test_sums_over_threads_match_wait4(meter: Meter, tmp_path: Path) -> None:
    pid = spawn(sys.executable, COSTLY, str(tmp_path / "file"))
    used = os.wait4(pid, 0)[2]
    records = meter.records_of(pid, tasks=3)

    assert sum_of(records, "cpu_ns") / 1e9 == pytest.approx(
        used.ru_utime + used.ru_stime, rel=0.05
    )
    # ru_maxrss includes the time between fork and exec, at the size of this process.
    if used.ru_maxrss > resource.getrusage(resource.RUSAGE_SELF).ru_maxrss:
        assert max(record.peak_rss for record in records) == pytest.approx(
            used.ru_maxrss * 1024, rel=0.05
        )
    assert sum_of(records, "write_chars") >= 10 << 20
    assert used.ru_minflt == sum_of(records, "minor_faults")
    assert used.ru_majflt == sum_of(records, "major_faults")
    assert used.ru_inblock * 512 == sum_of(records, "read_bytes")
    assert used.ru_oublock * 512 == sum_of(records, "write_bytes")
    if used.ru_oublock:  # 0 on tmpfs
        assert sum_of(records, "write_bytes") >= 10 << 20


def test_thread_group_leader_that_exits_first_has_its_own_record(meter: Meter) -> None:
    """The record excludes later usage of other threads."""
    pid = spawn(sys.executable, LEADER_ENDS_FIRST)
    used = os.wait4(pid, 0)[2]
    leader, other = meter.records_of(pid, tasks=2)

    assert (leader.pid, leader.exit_code) == (pid, 0)
    assert (other.tgid, other.exit_code) == (pid if HAS_TGID else 0, 3 << 8)
    assert other.peak_rss - leader.peak_rss > 60 << 20
    assert used.ru_minflt == leader.minor_faults + other.minor_faults


def test_thread_that_execs_keeps_its_usage(meter: Meter) -> None:
    """The thread takes over the leader's PID, so two records have that PID."""
    pid = spawn(sys.executable, THREAD_EXECS)
    used = os.wait4(pid, 0)[2]
    if not HAS_TGID:  # ambiguous: they could be of two processes
        exits = meter.exits(is_of(pid), 2)
        meter.drain()
        assert [None, None] == [meter.take(event) for event in exits]
        return
    leader, last = meter.records_of(pid, tasks=2)

    assert leader.pid == last.pid == pid
    assert last.cpu_ns > 200_000_000
    assert last.peak_rss < leader.peak_rss
    assert (leader.cpu_ns + last.cpu_ns) / 1e9 == pytest.approx(
        used.ru_utime + used.ru_stime, rel=0.05
    )


def test_leader_whose_exit_has_the_pid_of_another_thread_keeps_its_record(
    meter: Meter,
) -> None:
    """A thread that execs may swap PIDs with the leader before the leader's EXIT."""
    pid = spawn(sys.executable, THREAD_EXECS)
    os.waitpid(pid, 0)
    leader, last = meter.exits(is_of(pid), 2)
    meter.drain()
    leader_record = meter.take(leader._replace(pid=leader.tgid + 1))
    last_record = meter.take(last)

    if not HAS_TGID:
        assert leader_record is last_record is None
        return
    assert leader_record is not None
    assert last_record is not None
    assert last_record.peak_rss < leader_record.peak_rss


def test_exits_of_a_pid_reused_at_once_are_ambiguous(meter: Meter) -> None:
    """If they are read late, the records may have another order."""
    last_pid = Path("/proc/sys/kernel/ns_last_pid")
    if not os.access(last_pid, os.W_OK):
        pytest.skip("cannot choose the next PID")
    large = (sys.executable, "-S", "-c", "b'x' * (64 << 20)")
    first = spawn("/bin/true")
    os.waitpid(first, 0)
    deadline = time.monotonic() + DEADLINE
    second = 0
    while second != first and time.monotonic() < deadline:
        last_pid.write_text(str(first - 1))
        second = spawn(*large)
        os.waitpid(second, 0)
    records = [record for _, record in meter.measure(is_of(first), 2)]
    third = 0
    while third != first and time.monotonic() < deadline:
        last_pid.write_text(str(first - 1))
        third = spawn(*large)
        os.waitpid(third, 0)

    assert first == second == third
    assert records == [None, None]
    assert meter.records_of(first, tasks=1)[0].peak_rss > 64 << 20


@pytest.mark.parametrize(
    "other",
    [
        lambda event: event._replace(pid=2**22 + 1, tgid=2**22 + 1),
        lambda event: event._replace(exit_code=256),
        lambda event: event._replace(timestamp_ns=1),  # before the registration
    ],
)
def test_record_is_not_matched_with_another_exit(
    meter: Meter, other: Callable[[Exit], Exit]
) -> None:
    pid = spawn("/bin/true")
    os.waitpid(pid, 0)
    (event,) = meter.exits(lambda event: event.pid == pid, 1)
    meter.drain()

    assert meter.take(other(event)) is None
    assert meter.take(event) is not None
    assert meter.take(event) is None


def test_record_is_not_matched_with_an_exit_of_another_thread_group(
    meter: Meter,
) -> None:
    """Records have a TGID since Linux 5.19."""
    pid = spawn("/bin/true")
    os.waitpid(pid, 0)
    (event,) = meter.exits(lambda event: event.pid == pid, 1)
    meter.drain()
    is_taken = meter.take(event._replace(tgid=1)) is not None

    assert is_taken == (not HAS_TGID)
    assert (meter.take(event) is None) == is_taken


def test_record_of_a_lost_exit_is_not_matched_with_another(meter: Meter) -> None:
    """Of two EXITs with the same PID, either may have been lost."""
    pid = spawn(sys.executable, THREAD_EXECS)
    os.waitpid(pid, 0)
    exits = meter.exits(is_of(pid), 2)
    meter.drain(exits_are_missing=True)

    assert [None, None] == [meter.take(event) for event in exits]


def test_overrun_leaves_exits_without_usage_and_is_counted() -> None:
    try:
        meter = Meter(receive_buffer=4096)
    except OSError as error:
        pytest.skip(f"requires taskstats: {error}")
    pids = {spawn("/bin/true") for _ in range(50)}
    for pid in pids:
        os.waitpid(pid, 0)
    exits = meter.exits(lambda event: event.pid in pids, 50)
    meter.drain()
    lost = meter.lost
    records = [meter.take(event) for event in exits]
    lost_at = time.monotonic()
    deadline = lost_at + DEADLINE
    record, pid = None, 0
    while record is None and time.monotonic() < deadline:
        pid = spawn("/bin/true")
        os.waitpid(pid, 0)
        ((_, record),) = meter.measure(is_of(pid), 1)
    matched_at = time.monotonic()
    meter.close()

    assert lost >= 50
    assert set(records) == {None}
    assert record is not None
    assert record.pid == pid
    assert matched_at - lost_at > 0.09  # EXITs of lost records may be that late


@pytest.mark.heavy
def test_records_without_an_exit_are_discarded(meter: Meter) -> None:
    """The size of the table is bounded."""
    threads = [threading.Thread(target=int) for _ in range(10_000)]
    for thread in threads:
        thread.start()
        thread.join()
        meter.drain()
    meter.connector.recv_many(0)
    pid = spawn("/bin/true")
    os.waitpid(pid, 0)

    assert [pid] == [record.pid for record in meter.records_of(pid, tasks=1)]
    assert meter.lost == 0


def test_close_ends_the_registration() -> None:
    """Otherwise the kernel would keep the port ID, which another socket may get."""
    code = """
from procconn._core import ffi, lib
import os
before = set(os.listdir("/proc/self/fd"))
for _ in range(100):
    error = ffi.new("int *")
    usage = lib.procconn_usage_open(1 << 20, error)
    assert usage != ffi.NULL, error[0]
    lib.procconn_usage_close(usage)
assert before == set(os.listdir("/proc/self/fd"))
"""
    if os.geteuid() != 0:
        pytest.skip("requires root")
    done = run_python(code)

    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_close_in_a_forked_child_keeps_the_registration(meter: Meter) -> None:
    if child := os.fork():
        os.waitpid(child, 0)
    else:
        lib.procconn_usage_close(meter.usage)
        os._exit(0)
    pid = spawn("/bin/true")
    os.waitpid(pid, 0)

    assert [pid] == [record.pid for record in meter.records_of(pid, tasks=1)]


_OPEN = """
from procconn._core import ffi, lib
error = ffi.new("int *")
assert lib.procconn_usage_open(1 << 20, error) == ffi.NULL
print(-error[0])
"""


@pytest.mark.parametrize(
    ("prefix", "expected"),
    [
        (["setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin"], "EPERM"),
        (["unshare", "--user", "--map-root-user"], "EPERM"),
        (["unshare", "--pid", "--fork"], "EINVAL"),
    ],
)
def test_open_returns_the_errno_of_a_refusal(prefix: list[str], expected: str) -> None:
    if os.geteuid() != 0:
        pytest.skip("requires root")
    done = subprocess.run(
        [*prefix, sys.executable, "-c", _OPEN],
        check=True,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
    )

    assert expected == errno.errorcode[int(done.stdout)]
