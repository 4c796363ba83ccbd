"""How an event is told to people: one line of text."""

import os
import pwd
import shlex
import signal
import sys
from collections.abc import Callable
from datetime import datetime
from functools import cache
from unicodedata import east_asian_width

from procconn.clock import NS_PER_S
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
from procconn.processes.tracker import EventInContext
from procconn.programs import Program
from procconn.usage import Usage

REASONS = {
    "later": "it ran another program before this one was read",
    "gone": "it ended before it was read",
    "denied": "this user may not read it",
    "busy": "too many came at once",
    "held": "a tracer has stopped it since",
    "changed": "it changed before it was read",
    "late": "it was read too late",
    "limit": "procconn is out of descriptors or memory",
}
_GREEN, _RED, _LOUD = "32", "31", "1;31"
_SHORT, _LONG = 1.0, 60.0  # seconds
_KIB = 1024
_MOST = 4096  # characters of a command; JSON has all of them
_MOST_BYTES = 1 if sys.getfilesystemencoding() == "utf-8" else 4  # of a character
_AT_ONCE = 64  # arguments


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
            return told(seen.program, why=why)
        left = max(self._width - others, 1)
        return fit(told(seen.program, why=why, most=left), left)

    def _paint(self, seen: EventInContext, line: str) -> str:
        event, colour = seen.event, ""
        if isinstance(event, Exec):
            colour = _GREEN
        elif isinstance(event, Exit) and seen.returncode_of(event):
            colour = _RED
        elif isinstance(event, Lost):
            colour = _LOUD
        return f"\x1b[{colour}m{line}\x1b[m" if colour and self._coloured else line


def told(program: Program | None, *, why: bool = True, most: int = _MOST) -> str:
    """Show a command as one would type it; a question mark where it is not known.

    Args:
        program: what runs.
        why: whether to say why it is not known.
        most: characters of the command; one more is the sign that there are others.
    """
    if program is not None and program.argv:
        text, is_cut = _beginning(program.argv, most)
        return text + ("…" if is_cut or program.cut else "")
    name = ""
    if program is not None and program.name is not None:
        name = f"[{visible(program.name)}]"
    if program is not None and program.argv is not None:
        return name or "[]"  # it was started without any argument
    text = f"? {name}".rstrip()
    if why:
        missing = "" if program is None else program.missing
        text += f" ({REASONS.get(missing, 'not recorded')})"
    return text


def _beginning(argv: tuple[str, ...], most: int) -> tuple[str, bool]:
    """Quote no more of the arguments than is shown, and tell if there are others."""
    text = ""
    for at in range(0, len(argv), _AT_ONCE):
        quoted = shlex.join(argv[at : at + _AT_ONCE])
        text += " " * (at > 0) + visible(quoted[: most * _MOST_BYTES + 1])
        if len(text) > most:
            return text[:most], True
    return text, False


def ending(returncode: int | None, dumped_core: bool, duration: float | None) -> str:
    """Say how a process ended, and after how long."""
    if returncode is None:
        text = "ended unseen"
    elif returncode >= 0:
        text = f"status {returncode}"
    else:
        core = ", core dumped" if dumped_core else ""
        text = f"killed by {signal_name(-returncode)}{core}"
    return text if duration is None else f"{text} after {span(duration)}"


def used(usage: Usage | None) -> str:
    """Say what was used, to be put behind how it ended; nothing if that is unknown."""
    text = ""
    if usage is not None and usage.cpu_ns is not None:
        text += f", cpu {span(usage.cpu_ns / NS_PER_S)}"
    if usage is not None and usage.peak_rss is not None:
        text += f", {size(usage.peak_rss)}"
    return text


def signal_name(number: int) -> str:
    """Name a signal, also one of the real-time ones that Python has no name for."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"SIGRTMIN{number - signal.SIGRTMIN:+d}"


def span(seconds: float) -> str:
    """Say how long that is, in the unit that suits."""
    if seconds < _SHORT:
        milliseconds = seconds * 1000
        return f"{milliseconds:.1f} ms" if seconds < 0.01 else f"{milliseconds:.0f} ms"  # noqa: PLR2004 - where three digits are
    if seconds < _LONG:
        return f"{seconds:.2f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def size(count: int) -> str:
    """Say how much memory that is, in bytes, in the unit that suits."""
    amount, unit = count / _KIB**2, "MiB"
    if amount >= _KIB:
        amount, unit = amount / _KIB, "GiB"
    return f"{amount:.1f} {unit}" if amount < 10 else f"{amount:.0f} {unit}"  # noqa: PLR2004 - where two digits are


@cache
def user_name(uid: int | None) -> str:
    """Name a user; a number that has no name stands for itself."""
    if uid is None:
        return "?"
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def visible(text: str) -> str:
    """Escape what is not text, and what a terminal would obey."""
    if text.isascii() and text.isprintable():
        return text
    text = os.fsencode(text).decode(errors="backslashreplace")
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def fit(text: str, columns: int) -> str:
    """Cut a text so that it takes no more columns of a terminal; at least one."""
    if len(text) <= columns and text.isascii():
        return text
    widths = [2 if east_asian_width(c) in "WF" else 1 for c in text]
    if sum(widths) <= columns:
        return text
    kept, left = 0, columns - 1
    while kept < len(text) and left >= widths[kept]:
        left -= widths[kept]
        kept += 1
    return text[:kept] + "…"


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
