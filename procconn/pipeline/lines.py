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
    fit,
    format_command,
    format_exit,
    format_usage,
    user_name,
    visible,
)
from procconn.processes.tracker import EventInContext

_GREEN, _RED, _BOLD_RED = "32", "31", "1;31"


class TextLines:
    """Formatter of events as lines of text: local time, event, PID, details.

    Args:
        time_of: returns the time of an event.
        width: the columns of the terminal; None does not truncate commands.
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
        """Return the line, including the newline."""
        event = item.event
        time = self._time_of(event).astimezone().strftime("%H:%M:%S.%f")[:-3]
        name = type(event).__name__.lower()
        if isinstance(event, Lost | Unknown):
            pid = "-"
        elif isinstance(event, Fork):
            pid = str(event.parent_pid)
        else:
            pid = str(event.tgid if item.ended else event.pid)
        head = f"{time} {name:<8} {pid:>7} {_thread_note(item)}"
        command, tail = "", _details(item)
        if isinstance(event, Exec):
            if item.uid not in (None, self._uid):
                head += f"{visible(user_name(item.uid))}: "
            command = self._command(item, len(head), with_reason=True)
        elif isinstance(event, Exit):
            tail = " " + tail
            command = self._command(item, len(head) + len(tail), with_reason=False)
        return self._paint(item, f"{head}{command}{tail}") + "\n"

    def _command(self, item: EventInContext, others: int, *, with_reason: bool) -> str:
        """Return the command, truncated to the columns that others do not occupy."""
        if item.is_of_kernel_thread:
            return f"[{visible(item.name or 'kernel thread')}]"
        if self._width is None:
            return format_command(item.program, with_reason=with_reason)
        remaining = max(self._width - others, 1)
        command = format_command(item.program, with_reason=with_reason, limit=remaining)
        return fit(command, remaining)

    def _paint(self, item: EventInContext, line: str) -> str:
        event, colour = item.event, ""
        if isinstance(event, Exec):
            colour = _GREEN
        elif isinstance(event, Exit) and item.returncode_of(event):
            colour = _RED
        elif isinstance(event, Lost):
            colour = _BOLD_RED
        return f"\x1b[{colour}m{line}\x1b[m" if colour and self._coloured else line


def _thread_note(item: EventInContext) -> str:
    event = item.event
    if isinstance(event, Lost | Unknown | Fork) or not event.is_thread or item.ended:
        return ""
    return f"(thread of {event.tgid}) "


def _details(item: EventInContext) -> str:
    event = item.event
    match event:
        case Fork(child_pid=child):
            text = f"{'thread' if event.is_thread else 'child'} {child}"
        case Exit():
            code = item.returncode_of(event)
            text = format_exit(code, event.dumped_core and code < 0, item.duration)
            text += format_usage(item.usage_of(event))
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
