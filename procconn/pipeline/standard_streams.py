"""Standard input, output and error, any of which the parent may have closed."""

import errno
import os
import select
import sys
from typing import BinaryIO

STANDARD = "-"
"""The file name that means standard input or output."""

STDIN, STDOUT, STDERR = range(3)


def standard_input() -> BinaryIO:
    """Return standard input.

    Raises:
        OSError: it was closed when the command was started.
    """
    if sys.stdin is None:
        raise OSError(errno.EBADF, "standard input is closed; redirect it from a file")
    return sys.stdin.buffer


def standard_output() -> int:
    """Return the descriptor of standard output.

    Raises:
        OSError: it was closed when the command was started.
    """
    if sys.stdout is None:
        raise OSError(
            errno.EBADF,
            "standard output is closed; redirect it to /dev/null if it is not needed",
        )
    return STDOUT


def standard_error() -> int:
    """Return the descriptor of standard error; -1 if it was closed at the start."""
    return -1 if sys.stderr is None else STDERR


def write_all(descriptor: int, data: bytes) -> None:
    """Write all of the data, also to a non-blocking descriptor."""
    remaining = memoryview(data)
    while remaining:
        try:
            remaining = remaining[os.write(descriptor, remaining) :]
        except BlockingIOError:  # another process that shares it set O_NONBLOCK
            select.select([], [descriptor], [])
