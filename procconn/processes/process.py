"""`Process`, and the changes that are reported of one: started, executed, ended."""

from __future__ import annotations

from signal import SIGCHLD
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

from procconn.clock import NS_PER_S
from procconn.events import Exit, Fork, Lost
from procconn.processes.exits import ThreadExits
from procconn.processes.packed import pack, unpack
from procconn.processes.record import SLACK_NS, Record, is_other_program

if TYPE_CHECKING:
    from signal import Signals

    from procconn.processes.packed import Kept
    from procconn.processes.snapshot import SnapshotEntry
    from procconn.programs import Program, Usage

_KTHREADD = 2  # the process that forks all kernel threads


class Process:
    """A process, from the fork of its first thread to the end of its last one.

    Compared by identity: after PID wrap-around the same PID is another Process.

    Attributes:
        pid: the process ID, tgid in events.
        ppid: the PID of the parent that forked it, or that it had when the snapshot was
            taken; None if not known. The kernel reports no later change.
        parent: the parent, if the table knows it. None once the process has ended and
            the next event was fed, so that running processes keep no history alive.
        name: the name of its main thread; None if not known, as after an exec whose
            program was not read, after a fork by another thread than the main one, and
            of a kernel thread that started since, as it names itself without an event.
            Before Linux 5.15 a name written to /proc/PID/comm has no event either, and
            the earlier name stays.
        program: the program it runs: the one it executed last or, before that, its
            parent's; None if not known, and of a kernel thread. When the command lines
            of all running processes exceed 64 MiB, it has the first 4,096 characters
            of a long one, and `cut` is True.
        uid, euid: its real and its effective user ID, by its program and `Uid` events;
            None if not known.
        is_kernel_thread: whether the kernel runs it, and no program: kthreadd (PID 2)
            or another kernel thread forked it. Some execute a program later.
        started_ns: when it was forked, on CLOCK_MONOTONIC, in nanoseconds; of a
            process from a snapshot to 10 ms, and later by the time that the machine has
            slept since; None if not known.
        ended_ns: when its last thread ended, in nanoseconds; None while it runs. If
            its exit was not observed, when it was found to be gone.
        known_since: "start" if its fork was observed, else "snapshot".
    """

    __slots__ = (
        "__weakref__",
        "_kept",
        "_record",
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
        name: str | None = None,
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
        self._record = Record(started_ns or 0)

    @property
    def program(self) -> Program | None:
        """The program it runs."""
        return unpack(self._kept)

    @program.setter
    def program(self, program: Program | None) -> None:
        self._kept = pack(program)

    @property
    def is_running(self) -> bool:
        """Whether its end has not been reported yet."""
        return self.ended_ns is None

    @property
    def _exit(self) -> Exit | None:
        exits = self._record.exits
        return None if self.ended_ns is None or exits is None else exits.exit

    @property
    def returncode(self) -> int | None:
        """The exit status, or the negated number of the signal, as in `subprocess`.

        None while it runs, and if its exit was not observed. Before Linux 6.0 also if
        the main thread ended before the others, unless a signal ended them or all had
        the same status: wait(2) may return either, and events do not show which.
        """
        return None if self._exit is None else self._exit.returncode

    @property
    def signal(self) -> Signals | None:
        """The signal that ended it, or None."""
        return None if self._exit is None else self._exit.signal

    @property
    def dumped_core(self) -> bool:
        """Whether the signal that ended it made it dump core."""
        return self._exit is not None and self._exit.dumped_core

    @property
    def duration(self) -> float | None:
        """How long it ran, in seconds; None if its start or exit was not observed."""
        exits = self._record.exits
        if self.started_ns is None or self.ended_ns is None:
            return None
        if exits is None or not exits.is_observed:
            return None
        return (self.ended_ns - self.started_ns) / NS_PER_S

    @property
    def usage(self) -> Usage | None:
        """What all its threads used, once it has ended.

        Sums; of `peak_rss` and `elapsed_ns` the largest. None if that of a thread is
        not known. Threads that ended before a snapshot are not in it.
        """
        exits = self._record.exits
        return None if self.ended_ns is None or exits is None else exits.usage

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
            if event.parent_pid == event.parent_tgid:  # else it has that thread's name
                self.name = parent.name

    def _is_in(self, entry: SnapshotEntry) -> bool:
        """Return whether an entry is of it, not of a later process with its PID."""
        started_ns = entry.started_ns
        return started_ns is not None and started_ns <= self._record.known_ns + SLACK_NS

    def _fill(self, entry: SnapshotEntry, threads: set[int]) -> None:
        """Set what a snapshot shows, and the threads that run."""
        record = self._record
        record.threads = None if threads == {entry.pid} else threads
        record.read_ns = entry.before_ns
        record.forget_end()
        self.is_kernel_thread = entry.is_kernel_thread
        if entry.name is not None:
            self.name = entry.name
        program = entry.program
        if program is not None and is_other_program(program, self.program):
            self.program = program
        if entry.euid is not None:
            self.uid, self.euid = entry.uid, entry.euid
        if self.started_ns is None and entry.started_ns is not None:
            self.started_ns = record.known_ns = entry.started_ns
            self.ppid = entry.ppid

    def _set_exit_code(self, exit_code: int) -> None:
        """Set the wait status of a process that ended, if no event reported it."""
        ppid, ended_ns = self.ppid or 0, self.ended_ns or 0
        event = Exit(self.pid, self.pid, exit_code, SIGCHLD, ppid, ppid, ended_ns, 0)
        if self._record.exits is None:
            self._record.exits = ThreadExits(event, is_observed=False)
        else:
            self._record.exits.exit = event


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
