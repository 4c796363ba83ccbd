"""`Process`, and its changes: `Started`, `Executed`, `Ended`."""

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

    from procconn.processes.packed import Stored
    from procconn.processes.snapshot import SnapshotEntry
    from procconn.programs import Program, Usage

_KTHREADD = 2  # the process that forks all kernel threads


class Process:
    """A process, from its fork to the exit of its last thread.

    Compared by identity: after PID wrap-around the same PID is another Process.

    Attributes:
        pid: the process ID (tgid in events).
        ppid: the PID of the parent, at the fork or in the snapshot; None if not known.
            The kernel does not report reparenting.
        parent: the parent; None if the table does not know it. Also None after the
            process has ended and the next event was fed, so that memory does not grow
            with the number of ended ancestors.
        name: the name (comm) of its main thread. None if not known: after an exec whose
            program was not read, after a fork by a thread other than the main thread,
            and for a kernel thread without a snapshot, as it sets its name without an
            event. Before Linux 5.15 a write to /proc/PID/comm has no event either, and
            the earlier name remains.
        program: the program that it executed last, or else its parent's at the fork.
            None if not known, and for a kernel thread. When the command lines of all
            running processes exceed 64 MiB, long ones are truncated to 4,096
            characters, and `cut` is True.
        uid, euid: its real and effective user ID, from its program and later `Uid`
            events; None if not known.
        is_kernel_thread: whether it is a kernel thread, which runs no program: forked
            by kthreadd (PID 2) or another kernel thread. Some execute a program later.
        started_ns: when it was forked, on CLOCK_MONOTONIC, in nanoseconds; None if not
            known. From a snapshot, it is rounded down to 10 ms, and too early by the
            time that the machine has been suspended since.
        ended_ns: when its last thread ended, in nanoseconds; None while it runs. If
            its exit was not observed, when it was found to be gone.
        known_since: "start" if its fork was observed, else "snapshot".
    """

    __slots__ = (
        "__weakref__",
        "_record",
        "_stored",
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
        self._stored: Stored = None
        self.uid: int | None = None
        self.euid: int | None = None
        self.is_kernel_thread = False
        self.started_ns = started_ns
        self.ended_ns: int | None = None
        self.known_since = known_since
        self._record = Record(started_ns or 0)

    @property
    def program(self) -> Program | None:
        """The program that it runs."""
        return unpack(self._stored)

    @program.setter
    def program(self, program: Program | None) -> None:
        self._stored = pack(program)

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
        """The exit status, or the negated signal number, as in `subprocess`.

        None while it runs, and if its exit was not observed. Before Linux 6.0 also if
        main thread and last thread ended with different statuses and without a signal:
        events do not show which one wait(2) returns.
        """
        return None if self._exit is None else self._exit.returncode

    @property
    def signal(self) -> Signals | None:
        """The signal that ended it, or None."""
        return None if self._exit is None else self._exit.signal

    @property
    def dumped_core(self) -> bool:
        """Whether it dumped core."""
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
        """The resources that its threads used; None while it runs.

        Fields are sums, but maxima for `peak_rss` and `elapsed_ns`. None if the usage
        of a thread is not known. Threads that ended before a snapshot do not count.
        """
        exits = self._record.exits
        return None if self.ended_ns is None or exits is None else exits.usage

    def __repr__(self) -> str:
        state = "running" if self.is_running else f"returncode={self.returncode}"
        return f"<Process pid={self.pid} name={self.name!r} {state}>"

    def _inherit(self, parent: Process | None, event: Fork) -> None:
        """Set the attributes that a new process inherits from its parent."""
        if (
            event.parent_tgid == _KTHREADD
            if parent is None
            else parent.is_kernel_thread
        ):
            self.is_kernel_thread = True
            self.uid = self.euid = 0
        elif parent is not None:
            self._stored = parent._stored
            self.uid, self.euid = parent.uid, parent.euid
            if event.parent_pid == event.parent_tgid:  # else the name of that thread
                self.name = parent.name

    def _is_in(self, entry: SnapshotEntry) -> bool:
        """Return whether an entry is of this process, not a later one with its PID."""
        started_ns = entry.started_ns
        return started_ns is not None and started_ns <= self._record.known_ns + SLACK_NS

    def _update(self, entry: SnapshotEntry, threads: set[int]) -> None:
        """Update the attributes from a snapshot, and set the running threads."""
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
        """Set the wait status of an ended process whose exit was not observed."""
        ppid, ended_ns = self.ppid or 0, self.ended_ns or 0
        event = Exit(self.pid, self.pid, exit_code, SIGCHLD, ppid, ppid, ended_ns, 0)
        if self._record.exits is None:
            self._record.exits = ThreadExits(event, is_observed=False)
        else:
            self._record.exits.exit = event


class Started(NamedTuple):
    """A process was forked, or discovered after a loss."""

    process: Process
    timestamp_ns: int


class Executed(NamedTuple):
    """A process executed a program; `program` is None if it was not read."""

    process: Process
    program: Program | None
    timestamp_ns: int


class Ended(NamedTuple):
    """The last thread of a process ended, or it was found to be gone after a loss."""

    process: Process
    timestamp_ns: int


Change: TypeAlias = Started | Executed | Ended | Lost
