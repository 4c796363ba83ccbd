"""The extension module, which cffi generates from csrc/procconn.cdef."""

from collections.abc import Callable, Iterator
from typing import Any, Final, Literal, Protocol, Self, TypeAlias, final

from _typeshed import ReadableBuffer, WriteableBuffer

from procconn.events import Event

_Buffer: TypeAlias = Any
_Object: TypeAlias = Any
_Usage: TypeAlias = Any

class CWalk(Protocol):
    buffer: _Buffer
    size: int
    offset: int
    at: int
    error: int

class Filter(Protocol):
    mask: int
    thread_mask: int

    def __getitem__(self, index: Literal[0], /) -> Self: ...

class Bpf(Protocol):
    count: int
    instructions: _Buffer

class Settings(Protocol):
    filter: Filter
    receive_buffer: int
    coalesce_ns: int
    heartbeat_ns: int
    programs: bool
    usage: bool

class View(Protocol):
    needed: int
    closed: int
    receive_buffer: int
    counts_drops: int
    realtime: int
    usage_error: int
    programs_error: int

class Losses(Protocol):
    events: int
    usages: int

class Stream(Protocol):
    """Opaque; valid as long as its out parameter."""

class StreamOut(Protocol):
    def __getitem__(self, index: Literal[0], /) -> Stream: ...

class Reading(Protocol):
    size: int
    read_ns: int
    cwd_ns: int
    done_ns: int
    started_ns: int
    start_ticks: int
    startstack: int
    switches: int
    missing: int
    error: int
    is_there: int
    is_empty: int
    is_ending: int
    is_kernels: int
    is_traced: int
    is_in_exec: int
    is_torn: int
    memory: int

class Programs(Protocol):
    """Opaque: the state of the thread that reads programs."""

class ProgramsOut(Protocol):
    def __getitem__(self, index: Literal[0], /) -> Programs: ...

class _Pointer(Protocol):
    def __getitem__(self, index: Literal[0], /) -> Any: ...

class _Rows(Protocol):
    count: int
    in_place: int

class Packets(Protocol):
    offset: int
    wall_ns: int
    timestamp_ns: int
    is_step: int
    malformed: int
    copied: int

class _Kind(Protocol):
    words: int
    older_size: int
    has_name: int
    has_trailer: int

class TaskRecord(Protocol):
    pid: int
    tgid: int
    exit_code: int
    cpu_ns: int
    user_ns: int
    system_ns: int
    peak_rss: int
    read_bytes: int
    write_bytes: int
    read_chars: int
    write_chars: int
    minor_faults: int
    major_faults: int
    switches: int
    involuntary_switches: int
    elapsed_ns: int

class PacingStep(Protocol):
    action: int
    until_ns: int

class TaskExit(Protocol):
    pid: int
    tgid: int
    exit_code: int
    timestamp_ns: int

@final
class _Lib:
    PROCCONN_NONE: Final[int]
    PROCCONN_FORK: Final[int]
    PROCCONN_EXEC: Final[int]
    PROCCONN_UID: Final[int]
    PROCCONN_GID: Final[int]
    PROCCONN_SID: Final[int]
    PROCCONN_PTRACE: Final[int]
    PROCCONN_COMM: Final[int]
    PROCCONN_COREDUMP: Final[int]
    PROCCONN_EXIT: Final[int]
    PROCCONN_NONZERO_EXIT: Final[int]

    PROCCONN_END: Final[int]
    PROCCONN_EVENT: Final[int]
    PROCCONN_CONTROL: Final[int]
    PROCCONN_ACKNOWLEDGEMENT: Final[int]
    PROCCONN_FOREIGN: Final[int]
    PROCCONN_LOST: Final[int]
    PROCCONN_BAD_HEADER: Final[int]
    PROCCONN_BAD_LENGTH: Final[int]
    PROCCONN_BAD_ERROR: Final[int]
    PROCCONN_BAD_CONNECTOR: Final[int]
    PROCCONN_BAD_DATA: Final[int]
    PROCCONN_BAD_EVENT: Final[int]
    PROCCONN_BAD_FIELDS: Final[int]
    PROCCONN_ERROR: Final[int]
    PROCCONN_OVERRUN: Final[int]
    PROCCONN_NO_MEMORY: Final[int]

    # from csrc/wire/wire.h
    NLMSG_LEN_AT: Final[int]
    NLMSG_TYPE_AT: Final[int]
    NLMSG_FLAGS_AT: Final[int]
    NLMSG_SEQ_AT: Final[int]
    NLMSG_PID_AT: Final[int]
    NLMSG_HEADER_SIZE: Final[int]
    NLMSG_ALIGNMENT: Final[int]
    NLMSG_TYPE_ERROR: Final[int]
    NLMSG_TYPE_DONE: Final[int]
    NLMSG_TYPE_OVERRUN: Final[int]
    CN_MSG_IDX_AT: Final[int]
    CN_MSG_VAL_AT: Final[int]
    CN_MSG_SEQ_AT: Final[int]
    CN_MSG_ACK_AT: Final[int]
    CN_MSG_LEN_AT: Final[int]
    CN_MSG_FLAGS_AT: Final[int]
    CN_IDX_PROC: Final[int]
    CN_VAL_PROC: Final[int]
    CN_IDX_OWN: Final[int]
    CN_VAL_LOST: Final[int]
    EVENT_WHAT_AT: Final[int]
    EVENT_CPU_AT: Final[int]
    EVENT_TIMESTAMP_AT: Final[int]
    EVENT_DATA_AT: Final[int]
    EVENT_DATA_SIZE: Final[int]
    MESSAGE_SIZE: Final[int]
    WORD_SIZE: Final[int]
    COMM_NAME_SIZE: Final[int]
    PROGRAM_MAGIC: Final[int]
    USAGE_MAGIC: Final[int]
    USAGE_COUNT: Final[int]
    REQUEST_LISTEN: Final[int]
    REQUEST_IGNORE: Final[int]
    REQUEST_SIZE: Final[int]
    CONNECTOR_PROTOCOL: Final[int]
    CONNECTOR_GROUP: Final[int]

    # from csrc/wire/packets.h
    PACKET_HEADER_SIZE: Final[int]
    PACKET_LARGEST: Final[int]
    COOKED_SIZE: Final[int]
    COOKED_TYPE_NETLINK: Final[int]

    PROCCONN_PACKETS_BAD: Final[int]
    PROCCONN_PACKETS_PART: Final[int]
    PROCCONN_PACKETS_STEP: Final[int]

    procconn_kinds: Final[list[_Kind]]

    def procconn_decode(
        self, walk: CWalk, events: _Object, types: _Object, most: int, /
    ) -> int: ...
    def procconn_count_rows(self, walk: CWalk, rows: _Rows, /) -> int: ...
    def procconn_copy_rows(
        self, walk: CWalk, rows: _Buffer, capacity: int, /
    ) -> int: ...
    def procconn_packets_read(self, packets: Packets, messages: _Buffer, /) -> int: ...
    def procconn_rename_thread(self) -> int: ...
    def procconn_open(self, out: StreamOut, settings: Settings, /) -> int: ...
    def procconn_free(self, out: StreamOut, /) -> None: ...
    def procconn_view(self, stream: Stream, /) -> View: ...
    def procconn_close(self, stream: Stream, /) -> None: ...
    def procconn_subscribe(
        self, stream: Stream, nonce: int, timeout_ns: int, again: bool, /
    ) -> int: ...
    def procconn_unsubscribe(self, stream: Stream, /) -> int: ...
    def procconn_change(
        self, reader: _Object, event_filter: Filter | _Object, /
    ) -> int: ...
    def procconn_start_thread(self, stream: Stream, queue: int, /) -> int: ...
    def procconn_make_types(self, types: _Object, /) -> int: ...
    def procconn_make_reader(
        self,
        stream: Stream,
        types: _Object,
        classes: _Object,
        handle_status: _Object,
        cell: _Object,
        /,
    ) -> int: ...
    def procconn_lost(self, stream: Stream, /) -> Losses: ...
    def procconn_pollable(self, stream: Stream, index: int, /) -> int: ...
    def procconn_hold_pollable(self, stream: Stream, index: int, /) -> int: ...
    def procconn_release_pollable(self, stream: Stream, /) -> None: ...
    def procconn_filter_matches(
        self, event_filter: Filter, what: int, is_thread: bool, exit_code: int, /
    ) -> int: ...
    def procconn_filter_build(self, event_filter: Filter, bpf: Bpf, /) -> None: ...
    def procconn_filter_build_liveness(
        self, event_filter: Filter, task: int, bpf: Bpf, /
    ) -> None: ...
    def procconn_filter_build_acknowledgements(self, bpf: Bpf, /) -> None: ...

    USAGE_SIZE: Final[int]
    PROCCONN_TASK_NONE: Final[int]
    PROCCONN_TASK_RECORD: Final[int]
    PROCCONN_TASK_BAD: Final[int]

    def procconn_parse_taskstats(
        self, message: _Buffer, size: int, family: int, record: TaskRecord, /
    ) -> int: ...
    def procconn_write_usage(self, record: TaskRecord, trailer: _Buffer, /) -> None: ...
    def procconn_usage_open(self, receive_buffer: int, error: _Buffer, /) -> _Usage: ...
    def procconn_usage_close(self, usage: _Usage, /) -> None: ...
    def procconn_usage_drain(
        self, usage: _Usage, event_filter: Filter, exits_are_missing: int, /
    ) -> None: ...
    def procconn_usage_take(
        self, usage: _Usage, task_exit: TaskExit, record: TaskRecord, /
    ) -> int: ...
    def procconn_usage_lost(self, usage: _Usage, /) -> int: ...
    PROCCONN_COMPLETE: Final[int]
    PROCCONN_LATER: Final[int]
    PROCCONN_GONE: Final[int]
    PROCCONN_DENIED: Final[int]
    PROCCONN_BUSY: Final[int]
    PROCCONN_HELD: Final[int]
    PROCCONN_CHANGED: Final[int]
    PROCCONN_LATE: Final[int]
    PROCCONN_LIMIT: Final[int]
    PROCCONN_MEMORY_UNKNOWN: Final[int]
    PROCCONN_MEMORY_LIVES: Final[int]
    PROCCONN_MEMORY_ENDED: Final[int]
    PROCCONN_PENDING: Final[int]
    PROCCONN_TRAILER_CAPACITY: Final[int]
    PROCCONN_REALTIME: Final[int]
    PROCCONN_NEEDS_CAPABILITY: Final[int]
    PROCCONN_NEEDS_RUNTIME: Final[int]
    PROCCONN_IN_SANDBOX: Final[int]

    def procconn_is_hidden(self, pid: int, /) -> int: ...
    def procconn_read_program(
        self, pid: int, program_type: _Object, programs: _Object, /
    ) -> int: ...
    def procconn_read_executed(
        self, pid: int, trailer: _Buffer, reading: Reading, /
    ) -> None: ...
    def procconn_validate_exec(
        self, execs: _Buffer, count: int, ended_ns: int, known_ns: int, /
    ) -> int: ...
    def procconn_programs_start(
        self, receive_buffer: int, coalesce_ns: int, programs: ProgramsOut, /
    ) -> int: ...
    def procconn_programs_stop(self, programs: Programs, /) -> None: ...

    # from csrc/stream/pacing.h and csrc/stream/loss.h, for tests
    PACING_DRAIN: Final[int]
    PACING_AWAIT: Final[int]
    PACING_SLEEP: Final[int]
    PACING_CHECK_FILL: Final[int]
    MAX_OVERRUNS: Final[int]

    def pacing_begin(
        self, pacing: _Pointer, latency_ns: int, min_fill_ns: int, /
    ) -> None: ...
    def pacing_delivers(self, pacing: _Pointer, now_ns: int, /) -> bool: ...
    def pacing_note_drain(self, pacing: _Pointer, drain: _Pointer, /) -> None: ...
    def pacing_note_fill(
        self, pacing: _Pointer, now_ns: int, is_half_full: bool, /
    ) -> None: ...
    def pacing_next(
        self, pacing: _Pointer, since_ns: int, now_ns: int, deadline_ns: int, /
    ) -> PacingStep: ...
    def loss_receive(self, loss: _Pointer, datagrams: int, /) -> None: ...
    def loss_refuse(self, loss: _Pointer, /) -> None: ...
    def loss_set_drops(self, loss: _Pointer, drops: int, /) -> None: ...
    def loss_ask_amid(
        self,
        loss: _Pointer,
        now_ns: int,
        synced_until_ns: int,
        min_fill_ns: int,
        /,
    ) -> bool: ...
    def loss_ask_after(
        self, loss: _Pointer, began_ns: int, receive_buffer: int, /
    ) -> bool: ...
    def loss_note(
        self, loss: _Pointer, is_uncounted: bool, since_ns: int, /
    ) -> bool: ...
    def loss_take(
        self, loss: _Pointer, timestamp_ns: int, overrun: _Pointer, /
    ) -> bool: ...
    def loss_total(self, loss: _Pointer, /) -> int: ...

class Reader(Protocol):
    """The owner of pending events; see csrc/python/reader.h for the rules.

    Iterators wait until a deadline, in nanoseconds on CLOCK_MONOTONIC; 0 polls, -1
    blocks without limit. They end only when the deadline passes.
    """

    def __len__(self) -> int:
        """Return the number of pending events."""
    def events(self, deadline_ns: int, connector: object = ..., /) -> Iterator[Event]:
        """Iterate over events; with a connector, keep it alive, and end on close."""
    def lists(self, deadline_ns: int, /) -> Iterator[list[Event]]:
        """Iterate over lists of all queued events."""
    def pending_events(self) -> Iterator[Event]:
        """Iterate over the pending events only."""
    def pending_lists(self) -> Iterator[list[Event]]:
        """Iterate over one list of all pending events."""
    def raw(self, deadline_ns: int, /) -> Iterator[bytes]:
        """Iterate over buffers of all queued messages, without pending events."""
    def into(self, buffer: WriteableBuffer, deadline_ns: int, /) -> Iterator[int]:
        """Copy as many messages as fit into the buffer; iterate over the sizes."""
    def poll(self) -> int:
        """Decode queued events without waiting; return 0 or a negative errno."""

class RawView(Protocol):
    """A view of C memory; slices are copies."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: slice, /) -> bytes: ...
    def __setitem__(self, index: slice, value: bytes, /) -> None: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...

@final
class _FFI:
    def new(self, cdecl: str, init: object = ...) -> Any: ...
    def from_buffer(
        self, cdecl: Literal["uint8_t[]"], python_buffer: ReadableBuffer
    ) -> _Buffer: ...
    def release(self, cdata: _Buffer) -> None: ...
    def new_allocator(
        self, *, should_clear_after_alloc: bool
    ) -> Callable[[str, int], Any]: ...
    def gc(
        self, out: StreamOut, destructor: Callable[[StreamOut], None]
    ) -> StreamOut: ...
    def memmove(self, dest: _Buffer, src: bytes, n: int) -> None: ...
    def buffer(self, cdata: _Buffer, size: int) -> RawView: ...
    def cast(self, cdecl: Literal["void *"], value: int) -> _Object: ...

    NULL: Final[_Object]

lib: Final[_Lib]
ffi: Final[_FFI]
