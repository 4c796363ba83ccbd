"""Readers in Python, each a process: python -m benchmarks.readers NAME ARGUMENTS.

Arguments are JSON and NAME=JSON; names that a reader does not know itself are
the connector's. A reader says "ready" when it is subscribed, begins at a line on stdin,
says as JSON what it received, and stays until stdin ends. SIGTERM ends it, too.
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

_SOL_NETLINK = 270
_NO_ENOBUFS = 5
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


def _take(events: Iterable[object], count: int) -> None:
    for _event in islice(events, count):
        pass


def iterate(count: int, **settings: Any) -> None:
    """Take events one by one."""
    from procconn import ProcConnector

    with ProcConnector(**settings) as connector:
        _begin()
        _take(connector, count)
        _end(events=count, lost=connector.lost)


def beside_a_thread(count: int, **settings: Any) -> None:
    """Do the same in a process that has another thread, which sleeps."""
    threading.Thread(target=threading.Event().wait, daemon=True).start()
    iterate(count, **settings)


def naive(count: int) -> None:
    """Take events one by one with the standard library alone."""
    from benchmarks.naive import subscribed

    with subscribed() as events:
        _begin()
        _take(events, count)
        _end(events=count)


def columns(count: int) -> None:
    """Take raw messages as arrays."""
    import numpy as np

    from procconn import EventType, ProcConnector, as_array

    as_array(b"")  # imports NumPy
    with ProcConnector() as connector:
        _begin()
        left, seen, buffer = count, 0, memoryview(bytearray(_COLUMNS_BYTES))
        while left > 0:
            array = as_array(buffer[: connector.recv_into(buffer)])
            seen += int(np.count_nonzero(array["what"] == EventType.COMM))
            left -= len(array)
        _end(events=count - left, of_comm=seen, lost=connector.lost)


def storm(count: int, sleep: float = 0, **settings: Any) -> None:
    """Receive events in batches, count lost ones; sleep in the middle if asked to."""
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
    """Take events of some kinds until stdin has another line."""
    from procconn import EventMask, ProcConnector

    count = 0
    with ProcConnector(EventMask(mask)) as connector, _until_stdin_line():
        for _event in connector:
            count += 1
    _end(events=count)


def _ages(events: Iterable[Any], count: int) -> list[tuple[int, int]]:
    """Return when each event was, and how old it is."""
    return [
        (stamp := event.timestamp_ns, time.monotonic_ns() - stamp)
        for event in islice(events, count)
    ]


def latency(count: int, **settings: Any) -> None:
    """Take events one by one and note how old each is."""
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
    """Tell the command line of each program until stdin has another line.

    If asked to, report the other fields of it as well.
    """
    from procconn import Exec, ProcConnector

    reported, unmarked, shown = [], 0, []
    _become_nobody(nobody)
    with ProcConnector(**settings) as connector, _until_stdin_line():
        for event in connector:
            program = getattr(event, "program", None)
            if isinstance(event, Exec) and program:
                reported.append((event.pid, program.argv and " ".join(program.argv)))
                unmarked += program.argv is None and not program.missing
                if fields:
                    shown.append((*reported[-1], program._asdict()))
    _end(reported=reported, unmarked=unmarked, shown=shown)


def naive_programs(nobody: bool = False) -> None:
    """Do the same with the standard library alone."""
    from benchmarks.naive import subscribed

    reported = []
    _become_nobody(nobody)
    with subscribed() as events, _until_stdin_line():
        for event in events:
            if event.what == _EXEC:
                reported.append((event.pid, _command_line(event.pid)))
    _end(reported=reported)


def _command_line(pid: int) -> str | None:
    try:
        arguments = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return None
    return os.fsdecode(arguments.rstrip(b"\0").replace(b"\0", b" ")) or None


def _become_nobody(wanted: bool) -> None:
    """Give up all privilege, after all imports."""
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
    """Do nothing with what a program imports."""
    import procconn  # noqa: F401

    _begin()
    _end(resident=_resident_bytes())


def pyroute2(count: int) -> None:
    """Take events with pyroute2, its buffer as large as ours."""
    from pyroute2.netlink.connector.cn_proc import ProcEventSocket

    from benchmarks.naive import RECEIVE_BUFFER, SO_RCVBUFFORCE

    source = ProcEventSocket()
    source.bind()
    with socket.socket(fileno=os.dup(source.fileno())) as same:
        same.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER)
        same.setsockopt(_SOL_NETLINK, _NO_ENOBUFS, 1)  # else an overflow ends it
    source.control(listen=True)
    _begin()
    left = count
    try:
        while left > 0:
            try:
                left -= len(list(source.get()))
            except UnicodeDecodeError:  # somebody's name is not UTF-8
                left -= 1
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
        *(iterate, naive, columns, storm, masked, latency, naive_latency, imports),
        *(beside_a_thread, pyroute2, programs, naive_programs),
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
