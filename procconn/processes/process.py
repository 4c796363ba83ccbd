"""`Process`, and what can be told of one: `Started`, `Executed`, `Ended`."""

from __future__ import annotations

from signal import SIGCHLD
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

from procconn.clock import NS_PER_S
from procconn.diagnosis import is_kernel
from procconn.events import Exit, Fork, Lost
from procconn.processes.packed import packed, unpacked
from procconn.usage import Usage

if TYPE_CHECKING:
    from signal import Signals

    from procconn.processes.packed import Kept
    from procconn.programs import Program

_CORE_BIT = 0x80
_SIGNAL_BITS = 0x7F
_KTHREADD = 2  # the process that forks all kernel threads
_SAME_END_NS = 50_000_000
_LAST_THREAD_COUNTS = is_kernel(6, 0)  # see Process._drop_ambiguous_status()


class Process:
    """A process, from its first thread's fork to its last thread's end.

    Compared by identity: a pid that is used again is another Process.

    Attributes:
        pid: the process's id, tgid in events.
        ppid: the pid of the parent it was forked by, or had when the snapshot was
            taken; None if not known. The kernel tells of no later change.
        parent: the parent, if the table knows it. None once the process has ended and
            what happened next is told, so that what runs keeps no history alive.
        name: the name of its first thread; None if not known, as after an exec that was
            read no program of, after a fork by another thread than the first, and of a
            kernel thread that started since, as it names itself without an event.
            Before Linux 5.15 a name written to /proc/PID/comm has none either, and
            this stays as it was.
        program: the program it runs: the one it executed last or, before that, its
            parent's; None if not known, and of a kernel thread. When the command lines
            of all running processes exceed 64 MiB, it has the first 4,096 characters
            of a long one, and `cut` is True.
        uid, euid: its real and its effective user, by its program and `Uid` events;
            None if not known.
        is_kernel_thread: whether the kernel runs it, and no program: kthreadd (2) or
            another kernel thread forked it. Some of them execute a program later.
        started_ns: when it was forked, on CLOCK_MONOTONIC, in nanoseconds; of a
            process from a snapshot to 10 ms, and later by what the machine has slept
            since; None if not known.
        ended_ns: when its last thread ended, in nanoseconds; None while it runs. If
            that was not seen, when it was found to be gone.
        known_since: "start" if its fork was seen, else "snapshot".
    """

    __slots__ = (
        "__weakref__",
        "_epoch",
        "_executed_ns",
        "_exit",
        "_kept",
        "_known_ns",
        "_leader_code",
        "_overtaken",
        "_read_ns",
        "_saw_end",
        "_seems_ended_epoch",
        "_seems_ended_ns",
        "_threads",
        "_told",
        "_usage",
        "ended_ns",
        "euid",
        "is_kernel_thread",
        "known_since",
        "name",
        "parent",
        "pid",
        "ppid",
        "started_ns",
        "uid",
    )

    def __init__(
        self,
        pid: int,
        ppid: int | None,
        parent: Process | None,
        *,
        name: str | None,
        started_ns: int | None,
        known_since: Literal["start", "snapshot"],
    ) -> None:
        self.pid = pid
        self.ppid = ppid
        self.parent = parent
        self.name = name
        self._kept: Kept = None
        self.uid: int | None = None
        self.euid: int | None = None
        self.is_kernel_thread = False
        self.started_ns = started_ns
        self.ended_ns: int | None = None
        self.known_since = known_since
        # Kept by the table:
        self._threads: set[int] | None = None  # None: the first one only
        self._exit: Exit | None = None  # the one that tells the status
        self._leader_code: int | None = None  # of the first thread, once it has ended
        self._usage: Usage | Literal[False] | None = False  # False: no thread's yet
        self._executed_ns = 0  # when it executed its program, if that was seen
        self._known_ns = started_ns or 0  # the earliest time it is known of
        self._read_ns = 0  # events before this are in what was read of /proc
        self._seems_ended_ns = 0  # when a thread ended that may have been the last
        self._seems_ended_epoch = -1  # that of the table then
        self._epoch = 0  # how often the table had lost events before
        self._told = False  # whether its start was told
        self._saw_end = False  # rather than that it is gone, or a zombie
        self._overtaken: Process | None = None  # had this pid, and its exit is to come

    @property
    def program(self) -> Program | None:
        """The program it runs."""
        return unpacked(self._kept)

    @program.setter
    def program(self, program: Program | None) -> None:
        self._kept = packed(program)

    @property
    def is_running(self) -> bool:
        """Whether its end has not been seen yet."""
        return self.ended_ns is None

    @property
    def returncode(self) -> int | None:
        """The exit status, or the negated number of the signal, as in `subprocess`.

        None while it runs, and if its end was not seen. Before Linux 6.0 also if the
        first thread ended before the others, unless a signal ended them or all had the
        same status: wait(2) may return either, and events do not show which.
        """
        return self._exit.returncode if self._exit and not self.is_running else None

    @property
    def signal(self) -> Signals | None:
        """The signal that ended it, or None."""
        return self._exit.signal if self._exit and not self.is_running else None

    @property
    def dumped_core(self) -> bool:
        """Whether the signal that ended it made it dump core."""
        return not self.is_running and self._exit is not None and self._exit.dumped_core

    @property
    def duration(self) -> float | None:
        """How long it ran, in seconds; None if its beginning or end was not seen."""
        if self.started_ns is None or self.ended_ns is None or not self._saw_end:
            return None
        return (self.ended_ns - self.started_ns) / NS_PER_S

    @property
    def usage(self) -> Usage | None:
        """What all its threads used, once it has ended.

        Sums; of `peak_rss` and `elapsed_ns` the largest. None if that of a thread is
        not known. Threads that ended before a snapshot are not in it.
        """
        return None if self.is_running else self._usage or None

    def __repr__(self) -> str:
        state = "running" if self.is_running else f"returncode={self.returncode}"
        return f"<Process pid={self.pid} name={self.name!r} {state}>"

    def _inherit(self, parent: Process | None, event: Fork) -> None:
        """Set what a new process has from the one that forked it."""
        if (
            event.parent_tgid == _KTHREADD
            if parent is None
            else parent.is_kernel_thread
        ):
            self.is_kernel_thread = True
            self.uid = self.euid = 0
        elif parent is not None:
            self._kept = parent._kept
            self.uid, self.euid = parent.uid, parent.euid
            if event.parent_pid == event.parent_tgid:  # else it is named as that thread
                self.name = parent.name

    def _ended_with(self, exit_code: int) -> None:
        """Take in a wait status that no event has told."""
        ppid, ended_ns = self.ppid or 0, self.ended_ns or 0
        self._exit = Exit(
            self.pid, self.pid, exit_code, SIGCHLD, ppid, ppid, ended_ns, 0
        )

    def _executed(self) -> None:
        """Forget the exits of threads that an exec has ended."""
        self._exit = self._leader_code = None

    def _drop_ambiguous_status(self) -> None:
        """Forget the status if wait(2) may return another, now that it has ended.

        Before Linux 6.0 it returns the main thread's, unless another called
        exit_group(2) or a fatal signal came.
        """
        if _LAST_THREAD_COUNTS or self._exit is None:
            return
        exit_code = self._exit.exit_code
        if not exit_code & _SIGNAL_BITS and exit_code != self._leader_code:
            self._exit = None

    def _thread_ended(self, event: Exit) -> None:
        """Take in how one of its threads ended."""
        self._exit = _telling(self._exit, event)
        if event.pid == event.tgid:
            self._leader_code = event.exit_code
        if event.usage is None or self._usage is None:
            self._usage = None
        elif self._usage is False:
            self._usage = event.usage
        else:
            self._usage = _sum(self._usage, event.usage)


class Started(NamedTuple):
    """A process began: a fork, or its discovery after a loss."""

    process: Process
    timestamp_ns: int


class Executed(NamedTuple):
    """A process replaced its program; `program` is None if it was not read."""

    process: Process
    program: Program | None
    timestamp_ns: int


class Ended(NamedTuple):
    """The last thread of a process ended, or it was found to be gone after a loss."""

    process: Process
    timestamp_ns: int


Change: TypeAlias = Started | Executed | Ended | Lost


def _telling(earlier: Exit | None, event: Exit) -> Exit:
    """Choose between exits of one process the one whose code wait(2) would tell.

    The first thread to call exit_group(2) or to get a fatal signal decides, else the
    last to end. Its exit is usually reported last, but not where a thread that was just
    ending by itself, with 0, comes in behind it. Of threads that dump core together
    only one has the bit that says so, and others may end much later.
    """
    if earlier is None:
        return event
    if event.exit_code | _CORE_BIT == earlier.exit_code:
        return earlier
    is_late = event.timestamp_ns - earlier.timestamp_ns > _SAME_END_NS
    return event if is_late or event.exit_code else earlier


def _sum(one: Usage, other: Usage) -> Usage:
    largest = {"peak_rss", "elapsed_ns"}
    return Usage(
        *(
            None if a is None or b is None else max(a, b) if field in largest else a + b
            for field, a, b in zip(one._fields, one, other, strict=True)
        )
    )
