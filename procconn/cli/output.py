"""Standard output or a file, unbuffered."""

import argparse
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from procconn.cli.shutdown import Shutdown
from procconn.files import open_private
from procconn.pipeline.messages import report, report_lost, report_usage_lost
from procconn.pipeline.standard_streams import (
    STANDARD,
    STDERR,
    STDIN,
    STDOUT,
    standard_error,
    standard_output,
    write_all,
)

if TYPE_CHECKING:
    from procconn.pipeline.source import Source

# Appending, so that a log rotation that copies and truncates the file leaves no hole.
_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
_MANY = 65_536  # characters that are written at once


def occupy_closed_descriptors() -> None:
    """Keep opened files from taking the descriptor of a closed standard stream.

    The placeholders can be neither read nor written, and close on exec, so a command
    that is run has the same standard streams closed.
    """
    for fd in range(STDERR + 1):
        try:
            os.fstat(fd)
        except OSError:  # those below are open, so open() returns this one
            os.open("/", os.O_PATH | os.O_CLOEXEC)


class Output:
    """A file that is written whole lines at a time, or standard output.

    Args:
        path: the file, which is emptied first; None and "-" are standard output.

    Raises:
        OSError: the file cannot be opened, or standard output is closed.
    """

    _path: str | None = None
    _is_writing = _is_due = False

    def __init__(self, path: str | None = None) -> None:
        if path in (None, STANDARD):
            self._fd = standard_output()
        else:
            self._path = path
            self._fd = open_private(path, _FLAGS | os.O_TRUNC)

    @classmethod
    def of_errors(cls) -> "Output":
        """Take standard error, also where that is closed: then nothing is written."""
        output = cls.__new__(cls)
        output._fd = standard_error()
        return output

    def write(self, text: str) -> None:
        """Write all of it, also where it does not block; OSError names the file."""
        if self._fd < 0:
            return
        self._is_writing = True
        try:
            write_all(self._fd, text.encode(errors="backslashreplace"))
        except OSError as error:
            error.filename = self._path
            raise
        finally:
            self._is_writing = False
        if self._is_due:
            self.reopen()

    def write_all(self, texts: Iterable[str]) -> None:
        """Write many texts, a few of which are in memory at a time."""
        gathered: list[str] = []
        size = 0
        for text in texts:
            gathered.append(text)
            size += len(text)
            if size >= _MANY:
                self.write("".join(gathered))
                gathered, size = [], 0
        self.write("".join(gathered))

    def reopen_on_hangup(self, shutdown: Shutdown) -> None:
        """Let SIGHUP reopen the file, as a log rotation asks for it.

        Not where standard output is a terminal: there it means that the terminal is
        closed.
        """
        if self._path is not None and not os.isatty(STDOUT):
            shutdown.reopen_on_hangup(self.reopen)

    def reopen(self) -> None:
        """Open the file by its name once more, to append; between two writes."""
        self._is_due = self._is_writing
        if self._is_due or self._path is None:
            return
        try:
            fd = open_private(self._path, _FLAGS)
        except OSError as error:
            report(f"{self._path}: cannot be reopened: {error.strerror}")
            return
        os.dup2(fd, self._fd, inheritable=False)
        os.close(fd)

    @property
    def is_terminal(self) -> bool:
        """Whether it is a terminal."""
        return self._fd >= 0 and os.isatty(self._fd)

    @property
    def width(self) -> int | None:
        """The columns of the terminal; None if it is none, or they are unknown."""
        if not self.is_terminal:
            return None
        return os.get_terminal_size(self._fd).columns or None

    @property
    def height(self) -> int | None:
        """The lines of the terminal; None if it is none, or they are unknown."""
        if not self.is_terminal:
            return None
        return os.get_terminal_size(self._fd).lines or None

    @property
    def coloured(self) -> bool:
        """Whether it is a terminal with colours, and NO_COLOR is not set."""
        plain = os.environ.get("NO_COLOR") or os.environ.get("TERM", "dumb") == "dumb"
        return self.is_terminal and not plain


def open_output(options: argparse.Namespace, shutdown: Shutdown) -> Output:
    """Open the output, which empties a file; so open the source first.

    Raises:
        ValueError: the output is the file that is read.
        OSError: the file cannot be opened.
    """
    path = options.output
    is_file = path not in (None, STANDARD) and Path(path).is_file()
    if is_file and options.input is not None:
        read = STDIN if options.input == STANDARD else options.input
        if os.path.samestat(os.stat(path), os.stat(read)):
            raise ValueError(f"--output {path} is also the input; choose another file")
    output = Output(path)
    output.reopen_on_hangup(shutdown)
    return output


def report_unwritten(source: "Source") -> None:
    """Report what is missing if the command exits before everything is written."""
    lost = source.lost()
    source.close()
    report_lost(lost or 0)
    report_usage_lost(source.usage_lost())
    report(
        "the last events were not written: the output was blocked, or a second"
        " signal arrived"
    )
