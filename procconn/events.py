"""The events: one named tuple for each kind the kernel reports.

Fields follow `struct proc_event` in the kernel's include/uapi/linux/cn_proc.h and
are ints unless said otherwise. Common to the kinds:

- `pid` is the id of a task (a thread), `tgid` that of its process.
- `timestamp_ns` is CLOCK_MONOTONIC in nanoseconds; it stands still while the
  machine sleeps. `event_time` turns it into a date.
- `cpu` is the processor that reported the event. Order is strict for each one.

Ids are those of the initial pid and user namespaces. An event equals only events of
its own class, and no plain tuple.
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
    """The kernel's value for each kind (`enum proc_cn_event`)."""

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
    """Which kinds to receive; combine with `|`, take all others with `~`.

    `EXIT` asks for every exit, `NONZERO_EXIT` alone for the failing ones only; all
    but exits is `~(EXIT | NONZERO_EXIT)`.
    `ALL` lets through also the kinds that this library does not know.
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


class _Kind:
    """What makes a named tuple an event: it is compared by its class too."""

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


class _OfTask(_Kind):
    """What the events about one task have in common."""

    __slots__ = ()

    @property
    def is_thread(self: _Task) -> bool:
        """Whether the task is another thread than its process's first."""
        return self.pid != self.tgid


class _Exec(NamedTuple):
    pid: int
    tgid: int
    timestamp_ns: int
    cpu: int
    program: Program | None = None


class Exec(_OfTask, _Exec):
    """A process replaced its program: execve(2) succeeded.

    When a thread other than the first calls execve, it takes over the pid of the
    process: an `Exit` of that pid comes before this event. `program` is what it runs
    now, if the stream has programs, else None.
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


class Fork(_Kind, _Fork):
    """A task was made: fork(2), vfork(2), or clone(2), also of a thread.

    The parent is the new task's parent as getppid(2) returns it: for a thread, and
    after CLONE_PARENT, that is not the task that called clone.
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


class Exit(_OfTask, _Exit):
    """A task ended.

    `exit_code` is a wait status, as wait(2) would return it; `returncode`, `signal` and
    `dumped_core` decode it. `exit_signal` is the signal sent to the parent, usually
    SIGCHLD; 0xFFFFFFFF for a thread. It does not say what ended the task.

    The parent is 0, 0 when the task was reaped before the kernel reported its end, as
    threads always are, and before Linux 4.18.

    An exit with pid equal to tgid ends the process's first thread; the process goes
    on if other threads do. `usage` is what the task used, if the stream has that.
    """

    __slots__ = ()
    what: ClassVar[EventType] = EventType.EXIT

    @property
    def returncode(self) -> int:
        """The exit status, or the negated number of the signal, as in `subprocess`."""
        if number := self.exit_code & _SIGNAL_BITS:
            return -number
        return (self.exit_code >> 8) & 0xFF

    @property
    def signal(self) -> Signals | None:
        """The signal that ended the task, or None.

        Also None for the real-time signals that Python has no name for; a negative
        `returncode` covers those too.
        """
        try:
            return Signals(self.exit_code & _SIGNAL_BITS)
        except ValueError:
            return None

    @property
    def dumped_core(self) -> bool:
        """Whether the signal that ended the task made it dump core."""
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


class Uid(_OfTask, _Uid):
    """A task's real, effective, saved or filesystem user id changed."""

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


class Gid(_OfTask, _Gid):
    """A task's real, effective, saved or filesystem group id changed."""

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


class Sid(_OfTask, _Sid):
    """A process began a session and leads it: setsid(2)."""

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


class Ptrace(_OfTask, _Ptrace):
    """A tracer attached to a task, or detached: then the tracer is 0, 0.

    Neither PTRACE_TRACEME nor the end of a tracer is reported.
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


class Comm(_OfTask, _Comm):
    """A task's name was set: prctl(PR_SET_NAME) or a write to /proc/PID/comm.

    The kernel reports such a write from Linux 5.15 on.

    An exec sets the name too but is not reported as one. `comm` (bytes) has at most
    16 bytes, up to the first NUL, of the task's own choice: any bytes at all.
    """

    __slots__ = ()
    what: ClassVar[EventType] = EventType.COMM

    @property
    def name(self) -> str:
        """`comm` as text by `os.fsdecode`: bytes that fail become surrogates."""
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


class Coredump(_OfTask, _Coredump):
    """A task is ended by a signal that dumps core by default; its `Exit` follows.

    `Exit.dumped_core` says whether a core was written. The parent is 0, 0 before
    Linux 4.18.
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


class Unknown(_Kind, _Unknown):
    """An event of a kind that is newer than this library.

    `raw_data` (bytes) is the union `event_data` as received.
    """

    __slots__ = ()

    def __str__(self) -> str:
        return f"UNKNOWN what=0x{self.what:08x} len={len(self.raw_data)}"


class _Lost(NamedTuple):
    count: int  # type: ignore[assignment] # hides a method of tuple
    timestamp_ns: int


class Lost(_Kind, _Lost):
    """The kernel dropped `count` events about here, as the socket's buffer was full.

    Made by the library. A count of 0 means that an unknown number was lost.
    """

    __slots__ = ()

    def __str__(self) -> str:
        return f"LOST count={self.count} ts={self.timestamp_ns}"


Event: TypeAlias = (
    Exec | Fork | Exit | Uid | Gid | Sid | Ptrace | Comm | Coredump | Unknown | Lost
)

KINDS = (Fork, Exec, Uid, Gid, Sid, Ptrace, Comm, Coredump, Exit)
"""The class of each kind the kernel reports, in the order of their values."""
