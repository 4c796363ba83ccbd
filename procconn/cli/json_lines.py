"""How an event is told to programs: one JSON object, as docs/watch.schema.json says."""

import json
from collections.abc import Callable
from datetime import datetime
from functools import lru_cache

from procconn.cli.following import Seen
from procconn.cli.lines import signal_name, user_name
from procconn.events import KINDS, Comm, Event, Exec, Exit, Lost, Unknown
from procconn.programs import Program
from procconn.usage import Usage

_encode = json.JSONEncoder(separators=(",", ":")).encode
_NOT_READ = Program(
    argv=None,
    name=None,
    exe=None,
    cwd=None,
    ppid=None,
    uid=None,
    euid=None,
    gid=None,
    egid=None,
    cgroup=None,
    cut=False,
    missing="unread",
)
_BYTES = {"comm", "raw_data"}
_OTHERS = {"program", "usage"}


class JsonLines:
    """Make lines of events: all fields, and what is known of the process.

    Args:
        time_of: tells when an event happened.
    """

    def __init__(self, time_of: Callable[[Event], datetime]) -> None:
        self._time_of = time_of

    def __call__(self, seen: Seen) -> str:
        """Make the line, with its end. Bytes are given in hexadecimal."""
        event = seen.event
        time = self._time_of(event).isoformat(timespec="microseconds")
        values: tuple[object, ...] = event
        more = ""
        if isinstance(event, Exec):
            values = event[:-1]
            more = "," + _encode(_executed(seen))[1:-1]
        elif isinstance(event, Exit):
            pid = event.tgid if seen.ended else event.pid
            values = (pid, *event[1:-1])
            more = _ended(seen, event)
        elif isinstance(event, Comm):
            values = (*event[:2], event.comm.hex(), *event[3:])
            more = f',"name":{_encode(event.name)}'
        elif isinstance(event, Unknown):
            values = (event.what, event.raw_data.hex(), *event[2:])
        return _FORMATS[type(event)] % (time, *values) + more + "}\n"


def _format_of(kind: type[Event]) -> str:
    text = f'{{"event":"{kind.__name__.lower()}","time":"%s"'
    for field in kind._fields:
        if field not in _OTHERS:
            text += f',"{field}":' + ('"%s"' if field in _BYTES else "%d")
    return text


_USAGE = "{" + ",".join(f'"{field}":%s' for field in Usage._fields) + "}"
_FORMATS = {kind: _format_of(kind) for kind in (*KINDS, Unknown, Lost)}


def _executed(seen: Seen) -> dict[str, object]:
    program = seen.program or _NOT_READ
    record = program._asdict()
    record["user"] = None if seen.uid is None else user_name(seen.uid)
    return record


def _ended(seen: Seen, event: Exit) -> str:
    argv = name = user = "null"
    if seen.program is not None:
        argv, name = _of_program(seen.program.argv), _of_program(seen.program.name)
    if seen.uid is not None:
        user = _encode(user_name(seen.uid))
    code, duration = seen.returncode_of(event), seen.duration
    usage = seen.usage_of(event)
    return (
        f',"returncode":{code}'
        f',"signal":{_encode(signal_name(-code)) if code < 0 else "null"}'
        f',"dumped_core":{"true" if event.dumped_core and code < 0 else "false"}'
        f',"duration":{"null" if duration is None else duration}'
        f',"argv":{argv},"name":{name},"user":{user}'
        f',"usage":{"null" if usage is None else _of_usage(usage)}'
    )


def _of_usage(usage: Usage) -> str:
    return (_USAGE % usage).replace("None", "null")


@lru_cache(maxsize=1024)
def _of_program(value: tuple[str, ...] | str | None) -> str:
    return _encode(value)
