"""`take_snapshot`: read the running processes from /proc."""

from __future__ import annotations

import errno
import os
import time
from typing import TYPE_CHECKING, NamedTuple

from procconn._arguments import MAX_PID
from procconn.clock import NS_PER_S
from procconn.diagnosis import check_proc, kernel_is_at_least
from procconn.processes.packed import pack, unpack
from procconn.programs import Program, read_program

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from procconn.processes.packed import Stored

_TICK_NS = NS_PER_S // os.sysconf("SC_CLK_TCK")
_STATE, _PPID, _FLAGS, _NUM_THREADS, _STARTTIME, _EXIT_CODE = 0, 1, 6, 17, 19, 49
"""Indices of fields after the name in /proc/PID/stat; see proc_pid_stat(5)."""
_CPU_CLOCK = 2  # CPUCLOCK_SCHED in linux/posix-timers.h, for the clock of a process
_TRIES = 100
_ENDED = (b"Z", b"X")
_PF_KTHREAD = 0x00200000  # in linux/sched.h, the same since 2.6.27
_NOT_SHOWN = (FileNotFoundError, ProcessLookupError, PermissionError)
"""Errors from opening a file in /proc/PID if the process is gone or hidden."""
_SHORTAGES = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)


class SnapshotEntry(NamedTuple):
    """A process as read from /proc.

    Attributes:
        ppid, name: None if they could not be read.
        started_ns: start time on CLOCK_MONOTONIC, in nanoseconds, rounded down to
            10 ms; None if /proc hides the process, so that only its PID is known.
        threads: the IDs of its running threads; empty for a zombie, which has ended
            and was not reaped by its parent.
        before_ns, after_ns: CLOCK_MONOTONIC before and after reading, in nanoseconds.
        stored: its program, packed if the command line is long.
        uid, euid: its real and effective user ID; None if not known.
        is_kernel_thread: whether it is a kernel thread, which runs no program.
    """

    pid: int
    ppid: int | None
    name: str | None
    started_ns: int | None
    threads: tuple[int, ...]
    before_ns: int
    after_ns: int
    stored: Stored = None
    uid: int | None = None
    euid: int | None = None
    is_kernel_thread: bool = False

    @property
    def program(self) -> Program | None:
        """The program that it runs; None if not read, and for kernel threads."""
        return unpack(self.stored)


class Snapshot(NamedTuple):
    """The processes of a machine, read one after the other.

    `before_ns` and `after_ns` are CLOCK_MONOTONIC before the first and after the last
    one, in nanoseconds.
    """

    processes: tuple[SnapshotEntry, ...]
    before_ns: int
    after_ns: int


def take_snapshot(
    pids: Iterable[int] | None = None,
    *,
    known: Collection[int] = (),
    programs: bool = False,
) -> Snapshot:
    """Read the running processes from /proc.

    Args:
        pids: the PIDs of the processes to read; None reads all.
        known: PIDs of processes to include if they exist, even if /proc hides them
            (hidepid=).
        programs: whether to read their programs and user IDs, too.

    Returns:
        An entry for each process that exists, including zombies.

    Raises:
        UnsupportedError: /proc does not show this PID namespace.
        OSError: out of file descriptors (EMFILE, ENFILE) or memory (ENOMEM).
    """
    check_proc()
    before_ns = time.monotonic_ns()
    suspended_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME) - before_ns
    if pids is None:
        pids = [int(name) for name in os.listdir("/proc") if name.isdecimal()]
    entries = [
        entry
        for pid in pids
        if 0 < pid <= MAX_PID and (entry := _read(pid, suspended_ns, programs))
    ]
    listed = {entry.pid for entry in entries}
    entries += [_hidden(pid) for pid in known if pid not in listed and is_hidden(pid)]
    return Snapshot(tuple(entries), before_ns, time.monotonic_ns())


def try_snapshot(
    known: Collection[int] = (),
    *,
    pids: Iterable[int] | None = None,
    programs: bool = False,
) -> Snapshot | None:
    """Call `take_snapshot`; return None if out of descriptors or memory."""
    try:
        return take_snapshot(pids, known=known, programs=programs)
    except OSError as error:
        if error.errno not in _SHORTAGES:
            raise
        return None


def is_hidden(pid: int) -> bool:
    """Return whether a process that could not be read exists.

    /proc never hides a user's own processes: such a process has ended.
    """
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (OSError, OverflowError):
        pass
    return False


def check_exist(pids: Iterable[int], found: Collection[int]) -> None:
    """Check that processes exist.

    Args:
        pids: their PIDs.
        found: the PIDs in a snapshot.

    Raises:
        ProcessLookupError: a process does not exist, or the ID is that of a thread.
        PermissionError: /proc does not show a process to this user.
        OSError: a process could not be read, as in `take_snapshot`.
    """
    for pid in pids:
        if pid not in found and is_hidden(pid):
            raise PermissionError(
                f"/proc does not show process {pid} to this user (hidepid=); run as"
                " the owner of that process or as root"
            )
        if pid not in found or is_thread(pid):
            raise ProcessLookupError(
                f"there is no process {pid}: it has ended, or {pid} is the ID of a"
                " thread; give the PID of a running process"
            )


def is_thread(pid: int) -> bool:
    """Return whether an ID is that of a thread other than a main thread."""
    try:
        with open(f"/proc/{pid}/status", "rb") as status:
            return f"\nTgid:\t{pid}\n".encode() not in status.read()
    except _NOT_SHOWN:
        return False


def zombie_exit_code(pid: int) -> int | None:
    """Return the wait status of a zombie; None if this user may not read it.

    Before Linux 5.17 /proc has the status of the main thread, not of the process, so
    the result is also None if the process had other threads.
    """
    if (stat := _stat(f"/proc/{pid}/stat")) is None:
        return None
    _, fields = stat
    if not kernel_is_at_least(5, 17) and not _was_single_threaded(pid):
        return None
    if code := int(fields[_EXIT_CODE]):
        return code
    try:  # without permission, the kernel shows 0, and this fails
        os.readlink(f"/proc/{pid}/exe")
    except PermissionError:
        return None
    except OSError:
        pass
    return 0


def _was_single_threaded(pid: int) -> bool:
    """Return whether a zombie's main thread used all of its CPU time."""
    for _ in range(_TRIES):  # its exit may still use CPU time
        try:
            before_ns = _cpu_time(pid)
            all_ns = time.clock_gettime_ns(~pid << 3 | _CPU_CLOCK)
            if before_ns == _cpu_time(pid):
                return all_ns == before_ns
        except OSError:
            return False
    return False


def _cpu_time(tid: int) -> int:
    with open(f"/proc/{tid}/task/{tid}/schedstat", "rb") as file:
        return int(file.read().split()[0])


def _read(pid: int, suspended_ns: int, programs: bool) -> SnapshotEntry | None:
    before_ns = time.monotonic_ns()
    if (stat := _stat(f"/proc/{pid}/stat")) is None:
        return None
    name, fields = stat
    threads: tuple[int, ...] = (pid,)
    if int(fields[_NUM_THREADS]) > 1:
        threads = _threads(pid)
    elif fields[_STATE] in _ENDED:
        threads = ()
    is_kernel_thread = bool(int(fields[_FLAGS]) & _PF_KTHREAD)
    uid = euid = 0 if is_kernel_thread else None
    stored: Stored = None
    if programs and threads and not is_kernel_thread:
        program = read_program(pid)
        if program is not None:
            uid, euid = program.uid, program.euid
            stored = pack(program)
    return SnapshotEntry(
        pid,
        int(fields[_PPID]),
        name,
        int(fields[_STARTTIME]) * _TICK_NS - suspended_ns,
        threads,
        before_ns,
        time.monotonic_ns(),
        stored,
        uid,
        euid,
        is_kernel_thread,
    )


def _hidden(pid: int) -> SnapshotEntry:
    now = time.monotonic_ns()
    return SnapshotEntry(pid, None, None, None, (pid,), now, now)


def _threads(pid: int) -> tuple[int, ...]:
    """Return the running threads of a process; its main thread may have ended."""
    directory = f"/proc/{pid}/task"
    try:
        names = os.listdir(directory)
    except _NOT_SHOWN:
        return ()
    stats = ((int(name), _stat(f"{directory}/{name}/stat")) for name in names)
    return tuple(tid for tid, stat in stats if stat and stat[1][_STATE] not in _ENDED)


def _stat(path: str) -> tuple[str, list[bytes]] | None:
    """Read a stat file: the name, which may be any bytes, and the fields after it."""
    try:
        with open(path, "rb", buffering=0) as file:
            text = file.read(4096)
    except _NOT_SHOWN:
        return None
    head, _, fields = text.rpartition(b") ")
    return os.fsdecode(head.partition(b" (")[2]), fields.split()
