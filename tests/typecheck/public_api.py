"""The types of the public API. Only type checkers read this file, in `make types`.

A line with an `ignore` comment must be an error: otherwise, the checker reports the
comment as unused.
"""

from collections.abc import AsyncIterator, Iterator
from datetime import datetime
from signal import Signals
from typing import Any, assert_never, assert_type

from procconn import (
    BufferTooSmallError,
    Comm,
    ConnectionClosedError,
    Coredump,
    Event,
    EventMask,
    EventType,
    Exec,
    Exit,
    Fork,
    Gid,
    Lost,
    NetlinkMessageIter,
    OverrunError,
    ProcConnector,
    ProcConnError,
    Program,
    Ptrace,
    Sid,
    TruncatedError,
    Uid,
    Unknown,
    UnsupportedError,
    Usage,
    decode,
    event_time,
    parse_netlink_message,
    read_program,
)
from procconn.errors import HasEvents
from procconn.processes import (
    Change,
    Ended,
    Executed,
    Process,
    ProcessMonitor,
    ProcessTable,
    Started,
    take_snapshot,
    wait,
    wait_async,
)


def match_on_events_is_exhaustive(event: Event) -> None:
    """If a `case` is missing, `assert_never` is an error."""
    match event:
        case Exec(pid=number) | Sid(pid=number) | Coredump(parent_pid=number):
            assert_type(number, int)
        case Fork(parent_pid, parent_tgid):
            assert_type((parent_pid, parent_tgid), tuple[int, int])
        case Exit():
            assert_type(event.exit_code, int)
        case Uid(ruid=number) | Gid(rgid=number) | Ptrace(tracer_pid=number):
            assert_type(number, int)
        case Comm(comm=comm):
            assert_type(comm, bytes)
        case Unknown(what=what, raw_data=data):
            assert_type((what, data), tuple[int, bytes])
        case Lost(count=count):
            assert_type(count, int)
        case _:
            assert_never(event)


def missing_case_is_an_error(event: Exec | Lost) -> None:
    match event:
        case Exec():
            pass
        case _:
            assert_never(event)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


def event_attributes(exit_: Exit, comm: Comm, event: Event) -> None:
    assert_type(Exec.what, EventType)
    assert_type(event.timestamp_ns, int)
    assert_type(event_time(event), datetime)
    assert_type(exit_.returncode, int)
    assert_type(exit_.signal, Signals | None)
    assert_type(exit_.dumped_core, bool)
    assert_type(exit_.is_thread, bool)
    assert_type(comm.name, str)
    assert_type(str(event), str)
    assert_type(exit_._asdict(), dict[str, Any])


def programs_and_usage(exec_: Exec, exit_: Exit) -> None:
    assert_type(exec_.program, Program | None)
    assert_type(exit_.usage, Usage | None)
    match exec_:
        case Exec(pid=pid, program=Program(argv=argv, exe=exe, cut=cut)):
            assert_type((pid, exe, cut), tuple[int, str | None, bool])
            assert_type(argv, tuple[str, ...] | None)
        case _:
            pass
    if exec_.program is not None:
        assert_type(exec_.program.command, str)
        assert_type(exec_.program.container, str | None)
    if exit_.usage is not None:
        assert_type(exit_.usage.cpu_ns, int | None)
    Exec(1, 2, 3, 4)
    Exec(1, 2, 3)  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]


def events_are_immutable(event: Exec) -> None:
    event.pid = 1  # type: ignore[misc] # pyright: ignore[reportAttributeAccessIssue]


def not_all_events_have_a_pid(event: Event) -> None:
    print(event.pid)  # type: ignore[union-attr] # pyright: ignore


def reading(connector: ProcConnector, buffer: bytearray) -> None:
    for event in connector:
        assert_type(event, Event)
    assert_type(iter(connector), Iterator[Event])
    assert_type(connector.recv(), Event | None)
    assert_type(connector.recv(timeout=0.5), Event | None)
    assert_type(connector.recv_many(1), list[Event])
    assert_type(connector.recv_raw(timeout=0), bytes)
    assert_type(connector.recv_into(buffer, timeout=None), int)
    assert_type(connector.recv_into(memoryview(buffer)), int)
    assert_type(connector.lost, int)
    assert_type(connector.usage_lost, int)
    assert_type(connector.receive_buffer, int)
    assert_type(connector.fileno(), int)
    assert_type(connector.closed, bool)


async def reading_on_asyncio() -> None:
    async with ProcConnector() as connector:
        assert_type(connector, ProcConnector)
        assert_type(aiter(connector), AsyncIterator[Event])
        async for event in connector:
            assert_type(event, Event)
        assert_type(await connector.arecv_many(timeout=1), list[Event])
        assert_type(await connector.arecv_many(), list[Event])


def recv_may_return_none(connector: ProcConnector) -> int:
    event = connector.recv(timeout=1)
    return event.timestamp_ns  # type: ignore[union-attr] # pyright: ignore[reportOptionalMemberAccess]


def masks() -> None:
    assert_type(EventMask.EXEC | EventMask.EXIT, EventMask)
    assert_type(EventMask.ALL & ~EventMask.COMM, EventMask)
    assert_type(EventMask.NONE | EventMask.NONZERO_EXIT, EventMask)
    with ProcConnector(EventMask.EXEC | EventMask.EXIT, threads=False) as connector:
        connector.subscribe(EventMask.FORK)
        connector.subscribe()
        connector.unsubscribe()
    ProcConnector(3)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    ProcConnector(EventType.EXEC)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    ProcConnector(EventMask.ALL, False)  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]


def options() -> None:
    ProcConnector(receive_buffer=1 << 20, max_latency=0.01, timeout=2, heartbeat=None)
    ProcConnector(programs=True, usage=True, queue=1 << 26, heartbeat=30)
    ProcConnector(queue=None)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    ProcConnector(timeout=None)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


def decoding(buffer: bytes) -> None:
    assert_type(decode(buffer), list[Event])
    assert_type(decode(memoryview(buffer)), list[Event])
    assert_type(parse_netlink_message(bytearray(buffer)), Event | None)
    assert_type(list(NetlinkMessageIter(buffer)), list[Event | None])
    decode("text")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


def match_on_changes_is_exhaustive(change: Change) -> None:
    match change:
        case Started(process=process) | Ended(process=process):
            assert_type(process, Process)
        case Executed(process=process, program=program, timestamp_ns=time_ns):
            assert_type((process, time_ns), tuple[Process, int])
            assert_type(program, Program | None)
        case Lost(count=count):
            assert_type(count, int)
        case _:
            assert_never(change)


def process_attributes(process: Process) -> None:
    assert_type((process.pid, process.ppid), tuple[int, int | None])
    assert_type(process.parent, Process | None)
    assert_type(process.name, str | None)
    assert_type(process.program, Program | None)
    assert_type(process.usage, Usage | None)
    assert_type(process.returncode, int | None)
    assert_type(process.signal, Signals | None)
    assert_type(process.duration, float | None)
    assert_type(process.is_running, bool)
    assert_type(read_program(process.pid), Program | None)


def monitoring(monitor: ProcessMonitor) -> None:
    for change in monitor:
        assert_type(change, Change)
    assert_type(monitor.recv_many(timeout=1), list[Change])
    assert_type(monitor.processes.get(1), Process | None)
    assert_type(wait([1], timeout=1), dict[int, Process])
    ProcessMonitor(tree=1, programs=False, usage=True)
    ProcessMonitor(EventMask.ALL)  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]


async def monitoring_on_asyncio() -> None:
    async with ProcessMonitor() as monitor:
        async for change in monitor:
            assert_type(change, Change)
    assert_type(await wait_async({1, 2}), dict[int, Process])


def process_table(event: Event) -> None:
    table = ProcessTable(tree=1)
    assert_type(table.feed(event), list[Change])
    assert_type(table.resync(take_snapshot()), list[Change])


def errors(buffer: bytes) -> None:
    try:
        decode(buffer)
    except TruncatedError as error:
        assert_type(error.offset, int)
        assert_type(error.events, list[Event])
    except OverrunError as error:
        assert_type(error.offset, int)
        assert_type(error.events, list[Event])
    except BufferTooSmallError as error:
        assert_type(error.needed, int)
    except UnsupportedError as error:
        assert_type(error.errno, int | None)
    except OSError as error:
        if isinstance(error, HasEvents):
            assert_type(error.offset, int)
            assert_type(error.events, list[Event])
    except ProcConnError as error:
        assert_type(error, ProcConnError)


def base_classes_of_errors() -> None:
    value_errors: list[ValueError] = [TruncatedError(), BufferTooSmallError(64)]
    os_error: OSError = UnsupportedError()
    own: list[ProcConnError] = [OverrunError(), ConnectionClosedError()]
    own += [TruncatedError(), BufferTooSmallError(64), UnsupportedError()]
    print(value_errors, os_error, own)
    BufferTooSmallError()  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
