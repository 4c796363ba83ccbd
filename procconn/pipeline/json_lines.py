"""Events as JSON lines; docs/watch.schema.json is their schema."""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from functools import lru_cache

from procconn.clock import NS_PER_S
from procconn.events import KINDS, Comm, Event, Exec, Exit, Lost, Unknown
from procconn.pipeline.formats import signal_name, user_name
from procconn.pipeline.json_text import encode_field
from procconn.processes.tracker import EventInContext
from procconn.programs import Program, Usage

SCHEMA = "urn:procconn:watch:3"  # the schema's $id
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
_SECONDS_WIDTH = len("2000-01-01T00:00:00")
_BYTES_FIELDS = {"comm", "raw_data"}
_NESTED_FIELDS = {"program", "usage"}


class JsonLines:
    """Formatter that writes an event and its process as a JSON line.

    Args:
        wall_ns: returns the time of an event, in nanoseconds since 1970.
        withholds_argv: whether to omit arguments, which may contain secrets.
    """

    def __init__(
        self, wall_ns: Callable[[Event], int], *, withholds_argv: bool = False
    ) -> None:
        self._wall_ns = wall_ns
        self._withholds_argv = withholds_argv

    def __call__(self, item: EventInContext) -> str:
        """Return the line, including the newline. Bytes fields are hexadecimal."""
        event = item.event
        second, ns = divmod(self._wall_ns(event), NS_PER_S)
        time = f"{_format_second(second)}.{ns // 1000:06}+00:00"
        values: tuple[object, ...] = event
        more = ""
        if isinstance(event, Exec):
            values = event[:-1]
            more = self._format_exec(item)
        elif isinstance(event, Exit):
            pid = event.tgid if item.ended else event.pid
            values = (pid, *event[1:-1])
            more = self._format_exit(item, event)
        elif isinstance(event, Comm):
            values = (*event[:2], event.comm.hex(), *event[3:])
            more = f',"name":{encode_field("name", event.name)}'
        elif isinstance(event, Unknown):
            values = (event.what, event.raw_data.hex(), *event[2:])
        return _FORMATS[type(event)] % (time, *values) + more + "}\n"

    def _format_exec(self, item: EventInContext) -> str:
        program = item.program or _NOT_READ
        if self._withholds_argv and program.argv is not None:
            missing = program.missing or "withheld"
            program = program._replace(argv=None, missing=missing)
        user = None if item.uid is None else user_name(item.uid)
        return _PROGRAM % (*map(encode_field, _PROGRAM_FIELDS, (*program, user)),)

    def _format_exit(self, item: EventInContext, event: Exit) -> str:
        argv = user = None
        name = item.name
        if item.program is not None and not self._withholds_argv:
            argv = item.program.argv
        if item.uid is not None:
            user = user_name(item.uid)
        code, usage = item.returncode_of(event), item.usage_of(event)
        signal = signal_name(-code) if code < 0 else None
        dumped_core = code < 0 and event.dumped_core
        values = (code, signal, dumped_core, item.duration, argv, name, user)
        used = "null" if usage is None else _usage_json(usage)
        return _END % (*map(encode_field, _END_FIELDS, values), used)


def _fields(names: Iterable[str]) -> str:
    return "".join(f',"{name}":%s' for name in names)


def _format_string(kind: type[Event]) -> str:
    text = f'{{"event":"{kind.__name__.lower()}","time":"%s"'
    for name in kind._fields:
        if name not in _NESTED_FIELDS:
            text += f',"{name}":' + ('"%s"' if name in _BYTES_FIELDS else "%d")
    return text


_USAGE = "{" + ",".join(f'"{name}":%s' for name in Usage._fields) + "}"
_PROGRAM_FIELDS = (*Program._fields, "user")
_PROGRAM = _fields(_PROGRAM_FIELDS)
_END_FIELDS = (
    "returncode",
    "signal",
    "dumped_core",
    "duration",
    "argv",
    "name",
    "user",
)
_END = _fields((*_END_FIELDS, "usage"))
_FORMATS = {kind: _format_string(kind) for kind in (*KINDS, Unknown, Lost)}


@lru_cache(maxsize=16)
def _format_second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()[:_SECONDS_WIDTH]


def _usage_json(usage: Usage) -> str:
    return (_USAGE % usage).replace("None", "null")
