"""How an event is told to programs: one JSON object, as docs/watch.schema.json says."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache

from procconn.cli.lines import signal_name, user_name
from procconn.clock import NS_PER_S
from procconn.events import KINDS, Comm, Event, Exec, Exit, Lost, Unknown
from procconn.processes.tracker import EventInContext
from procconn.programs import Program
from procconn.usage import Usage

SCHEMA = "urn:procconn:watch:2"  # the $id there
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
_TO_SECONDS = len("2000-01-01T00:00:00")
_BYTES = {"comm", "raw_data"}
_OTHERS = {"program", "usage"}


class JsonLines:
    """Make lines of events: all fields, and what is known of the process.

    Args:
        wall_ns: tells when an event happened, in nanoseconds since 1970.
        withholds_argv: whether to leave out arguments, which may have secrets.
    """

    def __init__(
        self, wall_ns: Callable[[Event], int], *, withholds_argv: bool = False
    ) -> None:
        self._wall_ns = wall_ns
        self._withholds_argv = withholds_argv

    def __call__(self, seen: EventInContext) -> str:
        """Make the line, with its end. Bytes are given in hexadecimal."""
        event = seen.event
        second, ns = divmod(self._wall_ns(event), NS_PER_S)
        time = f"{_second(second)}.{ns // 1000:06}+00:00"
        values: tuple[object, ...] = event
        more = ""
        if isinstance(event, Exec):
            values = event[:-1]
            more = self._executed(seen)
        elif isinstance(event, Exit):
            pid = event.tgid if seen.ended else event.pid
            values = (pid, *event[1:-1])
            more = self._ended(seen, event)
        elif isinstance(event, Comm):
            values = (*event[:2], event.comm.hex(), *event[3:])
            more = f',"name":{_json(event.name)}'
        elif isinstance(event, Unknown):
            values = (event.what, event.raw_data.hex(), *event[2:])
        return _FORMATS[type(event)] % (time, *values) + more + "}\n"

    def _executed(self, seen: EventInContext) -> str:
        *values, cut, missing = seen.program or _NOT_READ
        if self._withholds_argv and values[0] is not None:
            values[0], missing = None, missing or "withheld"
        user = None if seen.uid is None else user_name(seen.uid)
        is_cut = "true" if cut else "false"
        return _PROGRAM % (*map(_json, values), is_cut, _json(missing), _json(user))

    def _ended(self, seen: EventInContext, event: Exit) -> str:
        argv = user = "null"
        name = _json(seen.name)
        if seen.program is not None and not self._withholds_argv:
            argv = _json(seen.program.argv)
        if seen.uid is not None:
            user = _json(user_name(seen.uid))
        code, duration = seen.returncode_of(event), seen.duration
        usage = seen.usage_of(event)
        return (
            f',"returncode":{code}'
            f',"signal":{_json(signal_name(-code)) if code < 0 else "null"}'
            f',"dumped_core":{"true" if code < 0 and event.dumped_core else "false"}'
            f',"duration":{"null" if duration is None else duration}'
            f',"argv":{argv},"name":{name},"user":{user}'
            f',"usage":{"null" if usage is None else _of_usage(usage)}'
        )


def _format_of(kind: type[Event]) -> str:
    text = f'{{"event":"{kind.__name__.lower()}","time":"%s"'
    for field in kind._fields:
        if field not in _OTHERS:
            text += f',"{field}":' + ('"%s"' if field in _BYTES else "%d")
    return text


_USAGE = "{" + ",".join(f'"{field}":%s' for field in Usage._fields) + "}"
_PROGRAM = "".join(f',"{field}":%s' for field in (*Program._fields, "user"))
_FORMATS = {kind: _format_of(kind) for kind in (*KINDS, Unknown, Lost)}


@lru_cache(maxsize=16)
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()[:_TO_SECONDS]


def _of_usage(usage: Usage) -> str:
    return (_USAGE % usage).replace("None", "null")


@lru_cache(maxsize=4096)
def _json(value: object) -> str:
    """Encode a value, which is no bool: True would be found where 1 was kept."""
    return _encode(value)
