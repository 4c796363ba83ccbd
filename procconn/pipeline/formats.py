"""Commands, ends of processes, lengths of time, sizes and users as text.

Everything that prints one of them takes it from here.
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
    "denied": "this user may not read it",
    "busy": "too many came at once",
    "held": "a tracer has stopped it since",
    "changed": "it changed before it was read",
    "late": "it was read too late",
    "limit": "procconn is out of descriptors or memory",
}
_KIB = 1024
_MOST = 4096  # characters of a command; JSON has all of them
_MOST_BYTES = 1 if sys.getfilesystemencoding() == "utf-8" else 4  # of a character
_AT_ONCE = 64  # arguments
# Below these, what is rounded still has fewer digits than the next unit begins with.
_TENTHS_BELOW, _MS_BELOW = 9.95, 999.5  # milliseconds
_S_BELOW = 59.995  # seconds


def quoted_command(
    program: Program | None, *, why: bool = True, most: int = _MOST
) -> str:
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


def ending(
    returncode: int | None, dumped_core: bool = False, duration: float | None = None
) -> str:
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
    """Return a length of time, in the unit that suits."""
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


def cut(text: str, most: int) -> str:
    """Return no more characters than that, with an ellipsis for those left out."""
    return text if len(text) <= most else text[: max(most - 1, 0)] + "…"
