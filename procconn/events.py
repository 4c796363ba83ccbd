"""Events: a named tuple for each kind of event that the kernel reports.

Fields follow `struct proc_event` in the kernel's include/uapi/linux/cn_proc.h and are
ints unless noted otherwise. Common fields:

- `pid` is the ID of a task (a thread), `tgid` the ID of its process.
- `timestamp_ns` is CLOCK_MONOTONIC in nanoseconds, which does not advance while the
  machine is suspended. `event_time` converts it to a datetime.
- `cpu` is the CPU that reported the event. Events from one CPU are in order.

IDs are those of the initial PID and user namespaces. An event is equal only to events
of the same class, never to a plain tuple.
"""

import os
from enum import STRICT, IntEnum, IntFlag
from signal import Signals
from typing import ClassVar, NamedTuple, Protocol, TypeAlias

from procconn._core import lib
from procconn.programs import Program, Usage

_SIGNAL_BITS = 0x7F
_CORE_BIT = 0x80


class EventType(IntEnum):
    """The kernel's values for the kinds of events (`enum proc_cn_event`)."""

    NONE = lib.PROCCONN_NONE
    FORK = lib.PROCCONN_FORK
    EXEC = lib.PROCCONN_EXEC
    UID = lib.PROCCONN_UID
    GID = lib.PROCCONN_GID
    SID = lib.PROCCONN_SID
    PTRACE = lib.PROCCONN_PTRACE
    COMM = lib.PROCCONN_COMM
    COREDUMP = lib.PROCCONN_COREDUMP
    EXIT = lib.PROCCONN_EXIT


class EventMask(IntFlag, boundary=STRICT):
    """The kinds of events to receive; combine with `|`, invert with `~`.

    `EXIT` selects all exits; `NONZERO_EXIT` without `EXIT` selects only those with a
    nonzero `exit_code`. The mask for everything but exits is `~(EXIT | NONZERO_EXIT)`.
    `ALL` also selects kinds that this library does not know.
    """

    NONE = 0
    FORK = lib.PROCCONN_FORK
    EXEC = lib.PROCCONN_EXEC
    UID = lib.PROCCONN_UID
    GID = lib.PROCCONN_GID
    SID = lib.PROCCONN_SID
    PTRACE = lib.PROCCONN_PTRACE
    COMM = lib.PROCCONN_COMM
    COREDUMP = lib.PROCCONN_COREDUMP
    EXIT = lib.PROCCONN_EXIT
    NONZERO_EXIT = lib.PROCCONN_NONZERO_EXIT
    ALL = FORK | EXEC | UID | GID | SID | PTRACE | COMM | COREDUMP | EXIT | NONZERO_EXIT


class _EventBase:
    """Base class of events, which compares them by class and fields."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        if type(other) is type(self):
            return super().__eq__(other)
        return False if isinstance(other, tuple) else NotImplemented

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = tuple.__hash__


class _Task(Protocol):
    @property
    def pid(self) -> int: ...

    @property
    def tgid(self) -> int: ...


class _TaskEvent(_EventBase):
    """Base class of events about one task."""

    __slots__ = ()

    @property
    def is_thread(self: _Task) -> bool:
        """Whether the task is a thread other than the main thread."""
        return self.pid != self.tgid


class _Exec(NamedTuple):
    pid: int
    tgid: int
    timestamp_ns: int
    cpu: int
    program: Program | None = None


class Exec(_TaskEvent, _Exec):
    """A process executed a program: execve(2) succeeded.

    A thread other than the main thread that calls execve takes over the PID of the
    process, so an `Exit` with that PID precedes this event. `program` is the new
    `Program`, or None if the connector does not read programs.
    """

    __slots__ = ()
    what: ClassVar[EventType] = EventType.EXEC

    def __str__(self) -> str:
        return f"EXEC pid={self.pid} tgid={self.tgid} ts={self.timestamp_ns}"


class _Fork(NamedTuple):
    parent_pid: int
    parent_tgid: int
    child_pid: int
    child_tgid: int
    timestamp_ns: int
    cpu: int


class Fork(_EventBase, _Fork):
    """A process or thread was created: fork(2), vfork(2) or clone(2).

    `parent_tgid` is the PID that getppid(2) returns in the new task. With CLONE_THREAD
    or CLONE_PARENT, the parent is that of the task that called clone(2).
    """

    __slots__ = ()
    what: ClassVar[EventType] = EventType.FORK

    @property
    def is_thread(self) -> bool:
        """Whether the child is a new thread, not a new process."""
        return self.child_pid != self.child_tgid

    def __str__(self) -> str:
        return (
            f"FORK parent=({self.parent_pid},{self.parent_tgid})"
            f" child=({self.child_pid},{self.child_tgid}) ts={self.timestamp_ns}"
        )


class _Exit(NamedTuple):
    pid: int
    tgid: int
    exit_code: int
    exit_signal: int
    parent_pid: int
    parent_tgid: int
    timestamp_ns: int
    cpu: int
    usage: Usage | None = None


class Exit(_TaskEvent, _Exit):
    """A task ended.

    `exit_code` is a wait status as returned by wait(2); `returncode`, `signal` and
    `dumped_core` decode it. `exit_signal` is not the signal that ended the task, but
    the one sent to its parent, usually SIGCHLD; 0xFFFFFFFF for a thread.

    `parent_pid` and `parent_tgid` are 0 if the task was reaped before the kernel
    reported its exit, as threads always are, and before Linux 4.18.

    If `pid` equals `tgid`, the main thread ended; the process continues while it has
    other threads. `usage` is the `Usage` of the task, or None if the connector does not
    report usage.
    """

    __slots__ = ()
    what: ClassVar[EventType] = EventType.EXIT

    @property
    def returncode(self) -> int:
        """The exit status, or the negated signal number, as in `subprocess`."""
        if number := self.exit_code & _SIGNAL_BITS:
            return -number
        return (self.exit_code >> 8) & 0xFF

    @property
    def signal(self) -> Signals | None:
        """The signal that ended the task, or None.

        `signal.Signals` has no member for most real-time signals. For these, the value
        is None, and `returncode` is the negated signal number.
        """
        try:
            return Signals(self.exit_code & _SIGNAL_BITS)
        except ValueError:
            return None

    @property
    def dumped_core(self) -> bool:
        """Whether the task dumped core."""
        return self.returncode < 0 and bool(self.exit_code & _CORE_BIT)

    def __str__(self) -> str:
        return (
            f"EXIT pid={self.pid} tgid={self.tgid} code={self.exit_code}"
            f" signal={self.exit_signal} ts={self.timestamp_ns}"
        )


class _Uid(NamedTuple):
    pid: int
    tgid: int
    ruid: int
    euid: int
    timestamp_ns: int
    cpu: int


class Uid(_TaskEvent, _Uid):
    """A task's real, effective, saved or filesystem user ID changed."""

    __slots__ = ()
    what: ClassVar[EventType] = EventType.UID

    def __str__(self) -> str:
        return (
            f"UID pid={self.pid} tgid={self.tgid} ruid={self.ruid} euid={self.euid}"
            f" ts={self.timestamp_ns}"
        )


class _Gid(NamedTuple):
    pid: int
    tgid: int
    rgid: int
    egid: int
    timestamp_ns: int
    cpu: int


class Gid(_TaskEvent, _Gid):
    """A task's real, effective, saved or filesystem group ID changed."""

    __slots__ = ()
    what: ClassVar[EventType] = EventType.GID

    def __str__(self) -> str:
        return (
            f"GID pid={self.pid} tgid={self.tgid} rgid={self.rgid} egid={self.egid}"
            f" ts={self.timestamp_ns}"
        )


class _Sid(NamedTuple):
    pid: int
    tgid: int
    timestamp_ns: int
    cpu: int


class Sid(_TaskEvent, _Sid):
    """A process created a session and became its leader: setsid(2)."""

    __slots__ = ()
    what: ClassVar[EventType] = EventType.SID

    def __str__(self) -> str:
        return f"SID pid={self.pid} tgid={self.tgid} ts={self.timestamp_ns}"


class _Ptrace(NamedTuple):
    pid: int
    tgid: int
    tracer_pid: int
    tracer_tgid: int
    timestamp_ns: int
    cpu: int


class Ptrace(_TaskEvent, _Ptrace):
    """A tracer attached to a task or detached from it.

    The tracer's IDs are 0 after a detach. The kernel reports no event for
    PTRACE_TRACEME, nor for the detach when a tracer exits.
    """

    __slots__ = ()
    what: ClassVar[EventType] = EventType.PTRACE

    def __str__(self) -> str:
        return (
            f"PTRACE pid={self.pid} tgid={self.tgid}"
            f" tracer=({self.tracer_pid},{self.tracer_tgid}) ts={self.timestamp_ns}"
        )


class _Comm(NamedTuple):
    pid: int
    tgid: int
    comm: bytes
    timestamp_ns: int
    cpu: int


class Comm(_TaskEvent, _Comm):
    """A task's name was set: prctl(PR_SET_NAME) or a write to /proc/PID/comm.

    Writes to /proc/PID/comm are reported since Linux 5.15. An exec also sets the name,
    without a `Comm` event. `comm` (bytes) is the name up to the first NUL, at most 16
    bytes; it need not be valid UTF-8.
    """

    __slots__ = ()
    what: ClassVar[EventType] = EventType.COMM

    @property
    def name(self) -> str:
        """`comm` decoded by `os.fsdecode`: undecodable bytes become surrogates."""
        return os.fsdecode(self.comm)

    def __str__(self) -> str:
        try:
            name = self.comm.decode()
        except UnicodeDecodeError:
            name = "<invalid>"
        return (
            f'COMM pid={self.pid} tgid={self.tgid} name="{name}" ts={self.timestamp_ns}'
        )


class _Coredump(NamedTuple):
    pid: int
    tgid: int
    parent_pid: int
    parent_tgid: int
    timestamp_ns: int
    cpu: int


class Coredump(_TaskEvent, _Coredump):
    """A signal whose default action is to dump core is ending a task.

    Its `Exit` follows, and `Exit.dumped_core` says whether it dumped core.
    `parent_pid` and `parent_tgid` are 0 before Linux 4.18.
    """

    __slots__ = ()
    what: ClassVar[EventType] = EventType.COREDUMP

    def __str__(self) -> str:
        return f"COREDUMP pid={self.pid} tgid={self.tgid} ts={self.timestamp_ns}"


class _Unknown(NamedTuple):
    what: int
    raw_data: bytes
    timestamp_ns: int
    cpu: int


class Unknown(_EventBase, _Unknown):
    """An event of a kind that this library does not know.

    `raw_data` (bytes) is the union `event_data` as received.
    """

    __slots__ = ()

    def __str__(self) -> str:
        return f"UNKNOWN what=0x{self.what:08x} len={len(self.raw_data)}"


class _Lost(NamedTuple):
    count: int  # type: ignore[assignment] # hides a method of tuple
    timestamp_ns: int


class Lost(_EventBase, _Lost):
    """An overrun: the kernel dropped `count` events, as the receive buffer was full.

    The library inserts this event near the point in the stream where the events were
    dropped. A count of 0 means that the number of dropped events is unknown.
    """

    __slots__ = ()

    def __str__(self) -> str:
        return f"LOST count={self.count} ts={self.timestamp_ns}"


Event: TypeAlias = (
    Exec | Fork | Exit | Uid | Gid | Sid | Ptrace | Comm | Coredump | Unknown | Lost
)

KINDS = (Fork, Exec, Uid, Gid, Sid, Ptrace, Comm, Coredump, Exit)
"""Event classes, in the order of their `EventType` values."""
