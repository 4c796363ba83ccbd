"""Events as lines of text."""

import os
from collections.abc import Callable
from datetime import datetime

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
from procconn.pipeline.formats import (
    ending,
    fit,
    quoted_command,
    used,
    user_name,
    visible,
)
from procconn.processes.tracker import EventInContext

_GREEN, _RED, _LOUD = "32", "31", "1;31"


class TextLines:
    """Formats events as lines: local time, event, PID, what changed.

    Args:
        time_of: returns the time of an event.
        width: the columns of the terminal; None does not cut commands.
        coloured: whether to colour execs, failed exits and losses.
    """

    def __init__(
        self,
        time_of: Callable[[Event], datetime],
        *,
        width: int | None,
        coloured: bool,
    ) -> None:
        self._time_of = time_of
        self._width = width
        self._coloured = coloured
        self._uid = os.geteuid()

    def __call__(self, item: EventInContext) -> str:
        """Return the line, with its newline."""
        event = item.event
        time = self._time_of(event).astimezone().strftime("%H:%M:%S.%f")[:-3]
        name = type(event).__name__.lower()
        if isinstance(event, Lost | Unknown):
            pid = "-"
        elif isinstance(event, Fork):
            pid = str(event.parent_pid)
        else:
            pid = str(event.tgid if item.ended else event.pid)
        head = f"{time} {name:<8} {pid:>7} {_of_thread(item)}"
        command, tail = "", _change(item)
        if isinstance(event, Exec):
            if item.uid not in (None, self._uid):
                head += f"{visible(user_name(item.uid))}: "
            command = self._command(item, len(head), why=True)
        elif isinstance(event, Exit):
            tail = " " + tail
            command = self._command(item, len(head) + len(tail), why=False)
        return self._paint(item, f"{head}{command}{tail}") + "\n"

    def _command(self, item: EventInContext, others: int, *, why: bool) -> str:
        """Return the command, cut to the columns that are left."""
        if item.is_of_kernel_thread:
            return f"[{visible(item.name or 'kernel thread')}]"
        if self._width is None:
            return quoted_command(item.program, why=why)
        left = max(self._width - others, 1)
        return fit(quoted_command(item.program, why=why, most=left), left)

    def _paint(self, item: EventInContext, line: str) -> str:
        event, colour = item.event, ""
        if isinstance(event, Exec):
            colour = _GREEN
        elif isinstance(event, Exit) and item.returncode_of(event):
            colour = _RED
        elif isinstance(event, Lost):
            colour = _LOUD
        return f"\x1b[{colour}m{line}\x1b[m" if colour and self._coloured else line


def _of_thread(item: EventInContext) -> str:
    event = item.event
    if isinstance(event, Lost | Unknown | Fork) or not event.is_thread or item.ended:
        return ""
    return f"(thread of {event.tgid}) "


def _change(item: EventInContext) -> str:
    event = item.event
    match event:
        case Fork(child_pid=child):
            text = f"{'thread' if event.is_thread else 'child'} {child}"
        case Exit():
            code = item.returncode_of(event)
            text = ending(code, event.dumped_core and code < 0, item.duration)
            text += used(item.usage_of(event))
        case Uid():
            text = f"ruid {event.ruid} euid {event.euid}"
        case Gid():
            text = f"rgid {event.rgid} egid {event.egid}"
        case Sid():
            text = "leads a new session"
        case Ptrace(tracer_pid=0):
            text = "no longer traced"
        case Ptrace():
            text = f"traced by {event.tracer_pid}"
        case Comm():
            quoted = event.name.replace("\\", r"\\").replace('"', r"\"")
            text = f'named "{visible(quoted)}"'
        case Coredump():
            text = "dumps core"
        case Unknown():
            text = f"kind 0x{event.what:08x} with {len(event.raw_data)} bytes"
        case Lost():
            text = f"{event.count or 'an unknown number of'} events"
        case _:
            text = ""
    return text
