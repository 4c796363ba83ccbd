"""Formatting of commands, exits, durations, sizes and users, for all subcommands."""

import os
import pwd
import shlex
import signal
import sys
from functools import cache
from unicodedata import east_asian_width

from procconn.clock import NS_PER_S
from procconn.programs import Program, Usage

REASONS = {
    "later": "it ran another program before this one was read",
    "gone": "it ended before it was read",
    "denied": "permission denied",
    "busy": "too many execs at once",
    "held": "a tracer has stopped it since its exec",
    "changed": "it changed before it was read",
    "late": "it was read too late",
    "limit": "procconn is out of descriptors or memory",
}
_KIB = 1024
_MAX_COMMAND = 4096  # characters; JSON has all of them
_MAX_SURROGATES = 1 if sys.getfilesystemencoding() == "utf-8" else 4  # per character
_CHUNK = 64  # arguments to quote at a time
# From here on, rounding would reach the next unit.
_TENTHS_BELOW, _MS_BELOW = 9.95, 999.5  # milliseconds
_S_BELOW = 59.995  # seconds


def format_command(
    program: Program | None, *, with_reason: bool = True, limit: int = _MAX_COMMAND
) -> str:
    """Return a shell-quoted command line; "?" if it is not known.

    Args:
        program: the program.
        with_reason: whether to add why the command line is not known.
        limit: the maximum number of characters, without the ellipsis.
    """
    if program is not None and program.argv:
        text, is_truncated = _quote(program.argv, limit)
        return text + ("…" if is_truncated or program.cut else "")
    name = ""
    if program is not None and program.name is not None:
        name = f"[{visible(program.name)}]"
    if program is not None and program.argv is not None:
        return name or "[]"  # it was started without any argument
    text = f"? {name}".rstrip()
    if with_reason:
        missing = "" if program is None else program.missing
        text += f" ({REASONS.get(missing, 'not recorded')})"
    return text


def _quote(argv: tuple[str, ...], limit: int) -> tuple[str, bool]:
    """Quote arguments up to the limit; return whether the text is truncated."""
    text = ""
    for at in range(0, len(argv), _CHUNK):
        quoted = shlex.join(argv[at : at + _CHUNK])
        text += " " * (at > 0) + visible(quoted[: limit * _MAX_SURROGATES + 1])
        if len(text) > limit:
            return text[:limit], True
    return text, False


def format_exit(
    returncode: int | None, dumped_core: bool = False, duration: float | None = None
) -> str:
    """Return how a process ended, and after what time."""
    if returncode is None:
        text = "exit not observed"
    elif returncode >= 0:
        text = f"status {returncode}"
    else:
        core = ", core dumped" if dumped_core else ""
        text = f"killed by {signal_name(-returncode)}{core}"
    return text if duration is None else f"{text} after {format_duration(duration)}"


def format_usage(usage: Usage | None) -> str:
    """Return CPU time and memory, to follow `format_exit`; "" if not known."""
    text = ""
    if usage is not None and usage.cpu_ns is not None:
        text += f", cpu {format_duration(usage.cpu_ns / NS_PER_S)}"
    if usage is not None and usage.peak_rss is not None:
        text += f", {format_size(usage.peak_rss)}"
    return text


def signal_name(number: int) -> str:
    """Return the name of a signal, including those that `signal.Signals` lacks."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"SIGRTMIN{number - signal.SIGRTMIN:+d}"


def format_duration(seconds: float) -> str:
    """Return a duration in a suitable unit."""
    milliseconds = seconds * 1000
    if milliseconds < _TENTHS_BELOW:
        return f"{milliseconds:.1f} ms"
    if milliseconds < _MS_BELOW:
        return f"{milliseconds:.0f} ms"
    if seconds < _S_BELOW:
        return f"{seconds:.2f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def format_size(count: int) -> str:
    """Return a number of bytes in a suitable unit."""
    amount, unit = count / _KIB**2, "MiB"
    if amount >= _KIB:
        amount, unit = amount / _KIB, "GiB"
    return f"{amount:.1f} {unit}" if amount < 10 else f"{amount:.0f} {unit}"  # noqa: PLR2004 - where two digits are


@cache
def user_name(uid: int | None) -> str:
    """Return the name of a user; the user ID if there is none."""
    if uid is None:
        return "?"
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def visible(text: str) -> str:
    """Escape undecodable bytes and control characters."""
    if text.isascii() and text.isprintable():
        return text
    return escaped(os.fsencode(text).decode(errors="backslashreplace"))


def escaped(text: str) -> str:
    """Escape control characters and surrogates."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def fit(text: str, columns: int) -> str:
    """Truncate text to a number of terminal columns, at least one."""
    if len(text) <= columns and text.isascii():
        return text
    widths = [2 if east_asian_width(c) in "WF" else 1 for c in text]
    if sum(widths) <= columns:
        return text
    count, remaining = 0, columns - 1
    while count < len(text) and remaining >= widths[count]:
        remaining -= widths[count]
        count += 1
    return text[:count] + "…"


def cut(text: str, limit: int) -> str:
    """Truncate text to a number of characters, including the ellipsis."""
    return text if len(text) <= limit else text[: max(limit - 1, 0)] + "…"
