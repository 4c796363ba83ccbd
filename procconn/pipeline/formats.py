"""Commands, ends of processes, durations, sizes and users as text.

These are the only functions that format one of them.
"""

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
_MOST = 4096  # characters of a command; JSON has all of them
_MOST_BYTES = 1 if sys.getfilesystemencoding() == "utf-8" else 4  # of a character
_AT_ONCE = 64  # arguments
# Above these, a rounded number would reach the next unit.
_TENTHS_BELOW, _MS_BELOW = 9.95, 999.5  # milliseconds
_S_BELOW = 59.995  # seconds


def quoted_command(
    program: Program | None, *, why: bool = True, most: int = _MOST
) -> str:
    """Return a command line, quoted for a shell; "?" if it is not known.

    Args:
        program: the program that runs.
        why: whether to say why the command line is not known.
        most: the characters to return at most, without the ellipsis.
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
    """Quote only as many arguments as are shown; return whether the text is cut."""
    text = ""
    for at in range(0, len(argv), _AT_ONCE):
        quoted = shlex.join(argv[at : at + _AT_ONCE])
        text += " " * (at > 0) + visible(quoted[: most * _MOST_BYTES + 1])
        if len(text) > most:
            return text[:most], True
    return text, False


def ending(
    returncode: int | None, dumped_core: bool = False, duration: float | None = None
) -> str:
    """Return how a process ended, and after which time."""
    if returncode is None:
        text = "exit not observed"
    elif returncode >= 0:
        text = f"status {returncode}"
    else:
        core = ", core dumped" if dumped_core else ""
        text = f"killed by {signal_name(-returncode)}{core}"
    return text if duration is None else f"{text} after {span(duration)}"


def used(usage: Usage | None) -> str:
    """Return the usage as text that follows `ending`; empty if it is unknown."""
    text = ""
    if usage is not None and usage.cpu_ns is not None:
        text += f", cpu {span(usage.cpu_ns / NS_PER_S)}"
    if usage is not None and usage.peak_rss is not None:
        text += f", {size(usage.peak_rss)}"
    return text


def signal_name(number: int) -> str:
    """Return the name of a signal, also of those that Python has no name for."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"SIGRTMIN{number - signal.SIGRTMIN:+d}"


def span(seconds: float) -> str:
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


def size(count: int) -> str:
    """Return an amount of memory in a suitable unit."""
    amount, unit = count / _KIB**2, "MiB"
    if amount >= _KIB:
        amount, unit = amount / _KIB, "GiB"
    return f"{amount:.1f} {unit}" if amount < 10 else f"{amount:.0f} {unit}"  # noqa: PLR2004 - where two digits are


@cache
def user_name(uid: int | None) -> str:
    """Return the name of a user; the number if it has none."""
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
    text = os.fsencode(text).decode(errors="backslashreplace")
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def fit(text: str, columns: int) -> str:
    """Cut a text to columns of a terminal, at least one."""
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


def cut(text: str, most: int) -> str:
    """Cut a text to a number of characters, including the ellipsis."""
    return text if len(text) <= most else text[: max(most - 1, 0)] + "…"
