"""Readers in Python, one per process: python -m benchmarks.readers NAME ARGUMENTS.

Arguments are JSON or NAME=JSON; readers pass names that they do not know to
`ProcConnector`. A reader prints "ready" when it is subscribed, starts at a line on
stdin, prints its result as JSON, and stays until stdin ends or SIGTERM.
"""

import json
import os
import pwd
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Any

_EXEC = 2
_COLUMNS_BYTES = 262_144


def _begin() -> None:
    print("ready", flush=True)
    sys.stdin.readline()


def _end(**result: object) -> None:
    print(json.dumps(result), flush=True)
    sys.stdin.read()


def _resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGESIZE")


def _consume(events: Iterable[object], count: int) -> None:
    for _event in islice(events, count):
        pass


def iterate(count: int, **settings: Any) -> None:
    """Receive events one by one."""
    from procconn import ProcConnector

    with ProcConnector(**settings) as connector:
        _begin()
        _consume(connector, count)
        _end(events=count, lost=connector.lost)


def iterate_threaded(count: int, **settings: Any) -> None:
    """Do the same in a process with a second thread, which sleeps."""
    threading.Thread(target=threading.Event().wait, daemon=True).start()
    iterate(count, **settings)


def naive(count: int) -> None:
    """Receive events one by one with the standard library alone."""
    from benchmarks.naive import subscribed

    with subscribed() as events:
        _begin()
        _consume(events, count)
        _end(events=count)


def columns(count: int) -> None:
    """Receive raw messages as arrays."""
    import numpy as np

    from procconn import EventType, ProcConnector, as_array

    as_array(b"")  # imports NumPy
    with ProcConnector() as connector:
        _begin()
        received, comms, buffer = 0, 0, memoryview(bytearray(_COLUMNS_BYTES))
        while received < count:
            array = as_array(buffer[: connector.recv_into(buffer)])
            comms += int(np.count_nonzero(array["what"] == EventType.COMM))
            received += len(array)
        _end(events=received, comms=comms, lost=connector.lost)


def batches(count: int, sleep: float = 0, **settings: Any) -> None:
    """Receive events in batches; count lost ones; sleep once, halfway."""
    from procconn import ProcConnector

    with ProcConnector(**settings) as connector:
        _begin()
        received = 0
        while received + connector.lost < count:
            received += len(connector.recv_many())
            if received >= count // 2:
                time.sleep(sleep)
                sleep = 0
        _end(events=count, lost=connector.lost, resident=_resident_bytes())


def masked(mask: int) -> None:
    """Receive the selected kinds of events until stdin has another line."""
    from procconn import EventMask, ProcConnector

    count = 0
    with ProcConnector(EventMask(mask)) as connector, _until_stdin_line():
        for _event in connector:
            count += 1
    _end(events=count)


def _ages(events: Iterable[Any], count: int) -> list[tuple[int, int]]:
    """Return each event's timestamp, and its age when it was received."""
    return [
        (stamp := event.timestamp_ns, time.monotonic_ns() - stamp)
        for event in islice(events, count)
    ]


def latency(count: int, **settings: Any) -> None:
    """Receive events one by one; report how old each was."""
    from procconn import ProcConnector

    with ProcConnector(**settings) as connector:
        _begin()
        _end(events=count, ages=_ages(connector, count))


def naive_latency(count: int) -> None:
    """Do the same with the standard library alone."""
    from benchmarks.naive import subscribed

    with subscribed() as events:
        _begin()
        _end(events=count, ages=_ages(events, count))


def programs(nobody: bool = False, fields: bool = False, **settings: Any) -> None:
    """Report each program's command line until stdin has another line.

    Args:
        nobody: give up root's privileges first.
        fields: also report all other fields of the programs.
        settings: parameters of `ProcConnector`.
    """
    from procconn import Exec, ProcConnector

    command_lines, unexplained, programs = [], 0, []
    _become_nobody(nobody)
    with ProcConnector(**settings) as connector, _until_stdin_line():
        for event in connector:
            program = getattr(event, "program", None)
            if isinstance(event, Exec) and program:
                line = program.argv and " ".join(program.argv)
                command_lines.append((event.pid, line))
                unexplained += program.argv is None and not program.missing
                if fields:
                    programs.append((event.pid, line, program._asdict()))
    _end(command_lines=command_lines, unexplained=unexplained, programs=programs)


def naive_programs(nobody: bool = False) -> None:
    """Do the same with the standard library alone."""
    from benchmarks.naive import subscribed

    command_lines = []
    _become_nobody(nobody)
    with subscribed() as events, _until_stdin_line():
        for event in events:
            if event.what == _EXEC:
                command_lines.append((event.pid, _command_line(event.pid)))
    _end(command_lines=command_lines)


def _command_line(pid: int) -> str | None:
    try:
        arguments = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return None
    return os.fsdecode(arguments.rstrip(b"\0").replace(b"\0", b" ")) or None


def _become_nobody(wanted: bool) -> None:
    """Give up root's privileges; nobody may not read modules, so import them first."""
    if wanted:
        user = pwd.getpwnam("nobody")
        os.setgroups([])
        os.setgid(user.pw_gid)
        os.setuid(user.pw_uid)


@contextmanager
def _until_stdin_line() -> Iterator[None]:
    """Begin, and leave the block when stdin has another line."""
    main = threading.main_thread().ident
    assert main is not None

    def leave() -> None:
        sys.stdin.readline()
        signal.pthread_kill(main, signal.SIGTERM)

    _begin()
    threading.Thread(target=leave).start()
    with suppress(KeyboardInterrupt):
        yield


def imports() -> None:
    """Import the library, and do nothing."""
    import procconn  # noqa: F401

    _begin()
    _end(resident=_resident_bytes())


def pyroute2(count: int) -> None:
    """Receive events with pyroute2."""
    from pyroute2.netlink.connector.cn_proc import ProcEventSocket

    from benchmarks.naive import enlarge

    source = ProcEventSocket()
    source.bind()
    with socket.socket(fileno=os.dup(source.fileno())) as duplicate:
        enlarge(duplicate)
    source.control(listen=True)
    _begin()
    received = 0
    try:
        while received < count:
            try:
                received += len(list(source.get()))
            except UnicodeDecodeError:  # a process name that is not UTF-8
                received += 1
        _end(events=count)
    finally:
        source.control(listen=False)
        source.close()


def _argument(text: str) -> tuple[str, Any]:
    name, _, value = text.rpartition("=")
    return name, json.loads(value)


def main() -> None:
    """Run the reader that the arguments name."""
    readers = (
        *(iterate, iterate_threaded, naive, columns, batches, masked),
        *(latency, naive_latency, programs, naive_programs, imports, pyroute2),
    )
    reader = {reader.__name__: reader for reader in readers}[sys.argv[1]]
    arguments = list(map(_argument, sys.argv[2:]))
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with suppress(KeyboardInterrupt):
        reader(
            *(value for name, value in arguments if not name),
            **{name: value for name, value in arguments if name},
        )


if __name__ == "__main__":
    main()
