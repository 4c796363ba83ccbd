"""What /proc says of the processes that run: `take_snapshot`."""

from __future__ import annotations

import errno
import os
import time
from typing import TYPE_CHECKING, NamedTuple

from procconn._arguments import MOST_PID
from procconn.clock import NS_PER_S
from procconn.diagnosis import check_proc, is_kernel
from procconn.processes.packed import packed, unpacked
from procconn.programs import Program, read_program

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from procconn.processes.packed import Kept

_TICK_NS = NS_PER_S // os.sysconf("SC_CLK_TCK")
_STATE, _PPID, _FLAGS, _NUM_THREADS, _STARTTIME, _EXIT_CODE = 0, 1, 6, 17, 19, 49
_CPU_CLOCK = 2  # of a process, with its id (CPUCLOCK_SCHED in linux/posix-timers.h)
_TRIES = 100
"""Fields of /proc/PID/stat behind the name; proc_pid_stat(5) counts from 1 and pid."""
_ENDED = (b"Z", b"X")
_PF_KTHREAD = 0x00200000  # in linux/sched.h, the same since 2.6.27
_NOT_SHOWN = (FileNotFoundError, ProcessLookupError, PermissionError)
"""What opening a file of /proc/PID raises if the process is gone or hidden."""
_SHORTAGES = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)


class SnapshotEntry(NamedTuple):
    """A process as /proc showed it.

    Attributes:
        ppid, name: None if they could not be read.
        started_ns: on CLOCK_MONOTONIC, in nanoseconds, rounded down to 10 ms; None if
            /proc hides the process: then all that is known is that it exists.
        threads: the ids of its threads that run; empty if it has ended and its parent
            has not yet asked how (a zombie).
        before_ns, after_ns: CLOCK_MONOTONIC around the reading, in nanoseconds.
        kept: its program, with a long command line as bytes.
        uid, euid: its real and its effective user; None if not known.
        is_kernel_thread: whether the kernel runs it, and no program.
    """

    pid: int
    ppid: int | None
    name: str | None
    started_ns: int | None
    threads: tuple[int, ...]
    before_ns: int
    after_ns: int
    kept: Kept = None
    uid: int | None = None
    euid: int | None = None
    is_kernel_thread: bool = False

    @property
    def program(self) -> Program | None:
        """What it runs; None if it was not read, and of kernel threads."""
        return unpacked(self.kept)


class Snapshot(NamedTuple):
    """The processes of a machine, read one after the other.

    `before_ns` and `after_ns` are CLOCK_MONOTONIC around all of it, in nanoseconds.
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
    """Read from /proc which processes run.

    Args:
        pids: read these only; None reads all.
        known: pids of which to tell that they exist even where /proc is mounted with
            hidepid= and does not show them.
        programs: whether to read their programs and user IDs, too.

    Returns:
        An entry for each process that is there, zombies too.

    Raises:
        UnsupportedError: /proc does not show this pid namespace.
        OSError: out of file descriptors (EMFILE, ENFILE) or memory (ENOMEM), so that
            processes which run could not be read.
    """
    check_proc()
    before_ns = time.monotonic_ns()
    asleep_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME) - before_ns
    if pids is None:
        pids = [int(name) for name in os.listdir("/proc") if name.isdecimal()]
    entries = [
        entry
        for pid in pids
        if 0 < pid <= MOST_PID and (entry := _read(pid, asleep_ns, programs))
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
    """Tell whether a process exists that could not be read.

    Processes of this user are never hidden from it; one of those ended meanwhile.
    """
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (OSError, OverflowError):
        pass
    return False


def check_there(pids: Iterable[int], found: Collection[int]) -> None:
    """Check that processes are there which somebody names.

    Raises:
        ProcessLookupError: one is not, or is another thread than its process's first.
        PermissionError: /proc does not show one to this user.
        OSError: one could not be looked at, as `take_snapshot` says.
    """
    for pid in pids:
        if pid not in found and is_hidden(pid):
            raise PermissionError(
                f"/proc does not show process {pid} to this user (hidepid=);"
                " try it as its user or as root"
            )
        if pid not in found or is_thread(pid):
            raise ProcessLookupError(
                f"there is no process {pid}; it may have ended already, or be a"
                " thread of another: give the pid of one that runs"
            )


def is_thread(pid: int) -> bool:
    """Tell whether an id is that of a thread other than its process's first."""
    try:
        with open(f"/proc/{pid}/status", "rb") as status:
            return f"\nTgid:\t{pid}\n".encode() not in status.read()
    except _NOT_SHOWN:
        return False


def zombie_exit_code(pid: int) -> int | None:
    """Return the wait status of a zombie; None if it may not be read.

    Before Linux 5.17 this is the first thread's, and another's may count: so None, too,
    if the process had others.
    """
    if (stat := _stat(f"/proc/{pid}/stat")) is None:
        return None
    _, fields = stat
    if not is_kernel(5, 17) and not _was_single_threaded(pid):
        return None
    if code := int(fields[_EXIT_CODE]):
        return code
    try:  # the kernel shows 0 to those who may not know, and hides this from them too
        os.readlink(f"/proc/{pid}/exe")
    except PermissionError:
        return None
    except OSError:
        pass
    return 0


def _was_single_threaded(pid: int) -> bool:
    """Return whether a zombie's CPU time, in nanoseconds, is all its main thread's."""
    for _ in range(_TRIES):  # it may still be on its way out
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


def _read(pid: int, asleep_ns: int, programs: bool) -> SnapshotEntry | None:
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
    kept: Kept = None
    if programs and threads and not is_kernel_thread:
        program = read_program(pid)
        if program is not None:
            uid, euid = program.uid, program.euid
            kept = packed(program)
    return SnapshotEntry(
        pid,
        int(fields[_PPID]),
        name,
        int(fields[_STARTTIME]) * _TICK_NS - asleep_ns,
        threads,
        before_ns,
        time.monotonic_ns(),
        kept,
        uid,
        euid,
        is_kernel_thread,
    )


def _hidden(pid: int) -> SnapshotEntry:
    now = time.monotonic_ns()
    return SnapshotEntry(pid, None, None, None, (pid,), now, now)


def _threads(pid: int) -> tuple[int, ...]:
    """List the running threads of a process: not a first one that has ended."""
    folder = f"/proc/{pid}/task"
    try:
        names = os.listdir(folder)
    except _NOT_SHOWN:
        return ()
    stats = ((int(name), _stat(f"{folder}/{name}/stat")) for name in names)
    return tuple(tid for tid, stat in stats if stat and stat[1][_STATE] not in _ENDED)


def _stat(path: str) -> tuple[str, list[bytes]] | None:
    """Read a stat file: the name, which may have any bytes, and the fields behind."""
    try:
        with open(path, "rb", buffering=0) as file:
            text = file.read(4096)
    except _NOT_SHOWN:
        return None
    head, _, tail = text.rpartition(b") ")
    return os.fsdecode(head.partition(b" (")[2]), tail.split()
