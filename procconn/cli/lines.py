"""How `procconn watch` prints an event: as text for people, or as JSON."""

import json
import signal
from collections.abc import Iterable, Iterator
from pathlib import Path

from procconn.clock import event_time
from procconn.events import (
    Comm,
    Coredump,
    Event,
    Exec,
    Exit,
    Fork,
    Gid,
    Lost,
    Ptrace,
    Sid,
    Uid,
    Unknown,
)

_COMMAND_BYTES = 200  # of a command line, before it is cut

_encode = json.JSONEncoder(separators=(",", ":")).encode


def text_lines(events: Iterable[Event]) -> Iterator[str]:
    """Make a line for each event: local time, event, pid, what changed."""
    events = list(events)
    latest = {event.pid: event for event in events if isinstance(event, Exec)}
    for event in events:
        time = event_time(event).astimezone().strftime("%H:%M:%S.%f")[:-3]
        pid = "-" if isinstance(event, Lost | Unknown) else _pid(event)
        if isinstance(event, Exec) and latest[event.pid] is not event:
            change = ""  # /proc shows the program of a later exec by now
        else:
            change = _change(event)
        name = type(event).__name__.lower()
        yield f"{time} {name:<8} {pid:>7} {change}".rstrip() + "\n"


def json_lines(events: Iterable[Event]) -> Iterator[str]:
    """Make a line for each event: a JSON object with all its fields.

    Bytes are given in hexadecimal.
    """
    for event in events:
        yield _encode(_json_object(event)) + "\n"


def _json_object(event: Event) -> dict[str, object]:
    record: dict[str, object] = {
        "event": type(event).__name__.lower(),
        "time": event_time(event).isoformat(timespec="microseconds"),
    }
    for field, value in event._asdict().items():
        record[field] = value.hex() if isinstance(value, bytes) else value
    if isinstance(event, Exit):
        record["returncode"] = event.returncode
        record["signal"] = _signal_name(event) if event.returncode < 0 else None
    elif isinstance(event, Comm):
        record["name"] = event.name
    return record


def _pid(
    event: "Exec | Fork | Exit | Uid | Gid | Sid | Ptrace | Comm | Coredump",
) -> int:
    return event.parent_pid if isinstance(event, Fork) else event.pid


def _change(event: Event) -> str:
    text = _of_thread(event)
    match event:
        case Exec():
            text += _command(event.pid)
        case Fork(child_pid=child):
            text += f"{'thread' if event.is_thread else 'child'} {child}"
        case Exit():
            text += _end(event)
        case Uid():
            text += f"ruid {event.ruid} euid {event.euid}"
        case Gid():
            text += f"rgid {event.rgid} egid {event.egid}"
        case Sid():
            text += "leads a new session"
        case Ptrace(tracer_pid=0):
            text += "no longer traced"
        case Ptrace():
            text += f"traced by {event.tracer_pid}"
        case Comm():
            quoted = event.comm.replace(b"\\", rb"\\").replace(b'"', rb"\"")
            text += f'named "{_visible(quoted)}"'
        case Coredump():
            text += "dumps core"
        case Unknown():
            text += f"kind 0x{event.what:08x} with {len(event.raw_data)} bytes"
        case Lost():
            text += f"{event.count or 'an unknown number of'} events"
    return text


def _of_thread(event: Event) -> str:
    if isinstance(event, Lost | Unknown | Fork) or not event.is_thread:
        return ""
    return f"(thread of {event.tgid}) "


def _end(event: Exit) -> str:
    if event.returncode >= 0:
        return f"status {event.returncode}"
    core = ", core dumped" if event.dumped_core else ""
    return f"killed by {_signal_name(event)}{core}"


def _signal_name(event: Exit) -> str:
    if event.signal is not None:
        return event.signal.name
    return f"SIGRTMIN{-event.returncode - signal.SIGRTMIN:+d}"


def _command(pid: int) -> str:
    """Read a process's command line; empty if the process is gone."""
    try:
        with Path(f"/proc/{pid}/cmdline").open("rb") as file:
            line = file.read(_COMMAND_BYTES + 1)
    except OSError:
        return ""
    text = _visible(line[:_COMMAND_BYTES].rstrip(b"\0").replace(b"\0", b" "))
    return text if len(line) <= _COMMAND_BYTES else text + "…"


def _visible(name: bytes) -> str:
    """Escape what is not text, and what a terminal would obey."""
    text = name.decode(errors="backslashreplace")
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
