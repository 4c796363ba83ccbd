"""How an event is told to people: one line of text."""

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
    """Make lines of events: local time, event, pid, what changed.

    Args:
        time_of: tells when an event happened.
        width: the columns of the terminal; None does not cut commands.
        coloured: whether to colour what matters.
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

    def __call__(self, seen: EventInContext) -> str:
        """Make the line, with its end."""
        event = seen.event
        time = self._time_of(event).astimezone().strftime("%H:%M:%S.%f")[:-3]
        name = type(event).__name__.lower()
        if isinstance(event, Lost | Unknown):
            pid = "-"
        elif isinstance(event, Fork):
            pid = str(event.parent_pid)
        else:
            pid = str(event.tgid if seen.ended else event.pid)
        head = f"{time} {name:<8} {pid:>7} {_of_thread(seen)}"
        command, tail = "", _change(seen)
        if isinstance(event, Exec):
            if seen.uid not in (None, self._uid):
                head += f"{visible(user_name(seen.uid))}: "
            command = self._command(seen, len(head), why=True)
        elif isinstance(event, Exit):
            tail = " " + tail
            command = self._command(seen, len(head) + len(tail), why=False)
        return self._paint(seen, f"{head}{command}{tail}") + "\n"

    def _command(self, seen: EventInContext, others: int, *, why: bool) -> str:
        """Show the command in the columns that the others leave."""
        if seen.is_of_kernel_thread:
            return f"[{visible(seen.name or 'kernel thread')}]"
        if self._width is None:
            return quoted_command(seen.program, why=why)
        left = max(self._width - others, 1)
        return fit(quoted_command(seen.program, why=why, most=left), left)

    def _paint(self, seen: EventInContext, line: str) -> str:
        event, colour = seen.event, ""
        if isinstance(event, Exec):
            colour = _GREEN
        elif isinstance(event, Exit) and seen.returncode_of(event):
            colour = _RED
        elif isinstance(event, Lost):
            colour = _LOUD
        return f"\x1b[{colour}m{line}\x1b[m" if colour and self._coloured else line


def _of_thread(seen: EventInContext) -> str:
    event = seen.event
    if isinstance(event, Lost | Unknown | Fork) or not event.is_thread or seen.ended:
        return ""
    return f"(thread of {event.tgid}) "


def _change(seen: EventInContext) -> str:
    event = seen.event
    match event:
        case Fork(child_pid=child):
            text = f"{'thread' if event.is_thread else 'child'} {child}"
        case Exit():
            code = seen.returncode_of(event)
            text = ending(code, event.dumped_core and code < 0, seen.duration)
            text += used(seen.usage_of(event))
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
