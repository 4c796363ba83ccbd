"""The output of a subcommand: standard output or a file, unbuffered."""

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

# O_APPEND, so that log rotation by copy and truncate leaves no hole in the file.
_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
_CHUNK = 65_536  # characters


def occupy_closed_descriptors() -> None:
    """Prevent files from being opened as descriptors 0 to 2, if these are closed.

    The placeholders cannot be read or written. They close on exec, so that commands
    inherit the closed streams.
    """
    for fd in range(STDERR + 1):
        try:
            os.fstat(fd)
        except OSError:  # lower ones are open, so open() returns this one
            os.open("/", os.O_PATH | os.O_CLOEXEC)


class Output:
    """An output that is written in complete lines.

    Args:
        path: the file, which is truncated; None and "-" mean standard output.

    Raises:
        OSError: the file cannot be opened, or standard output is closed.
    """

    _path: str | None = None
    _is_writing = _must_reopen = False

    def __init__(self, path: str | None = None) -> None:
        if path in (None, STANDARD):
            self._fd = standard_output()
        else:
            self._path = path
            self._fd = open_private(path, _FLAGS | os.O_TRUNC)

    @classmethod
    def stderr(cls) -> "Output":
        """Return standard error as output. If it is closed, nothing is written."""
        output = cls.__new__(cls)
        output._fd = standard_error()
        return output

    def write(self, text: str) -> None:
        """Write all text, also to a nonblocking descriptor; OSError names the file."""
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
        if self._must_reopen:
            self.reopen()

    def write_all(self, texts: Iterable[str]) -> None:
        """Write many texts in chunks, without keeping all of them in memory."""
        chunk: list[str] = []
        size = 0
        for text in texts:
            chunk.append(text)
            size += len(text)
            if size >= _CHUNK:
                self.write("".join(chunk))
                chunk, size = [], 0
        self.write("".join(chunk))

    def reopen_on_hangup(self, shutdown: Shutdown) -> None:
        """Reopen the file at SIGHUP, for log rotation.

        If standard output is a terminal, SIGHUP means that the terminal was closed.
        """
        if self._path is not None and not os.isatty(STDOUT):
            shutdown.reopen_on_hangup(self.reopen)

    def reopen(self) -> None:
        """Reopen the file by its name, to append; after a write that is in progress."""
        self._must_reopen = self._is_writing
        if self._must_reopen or self._path is None:
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
        """Whether the output is a terminal."""
        return self._fd >= 0 and os.isatty(self._fd)

    @property
    def width(self) -> int | None:
        """The number of columns of a terminal; None if unknown or no terminal."""
        if not self.is_terminal:
            return None
        return os.get_terminal_size(self._fd).columns or None

    @property
    def height(self) -> int | None:
        """The number of lines of a terminal; None if unknown or no terminal."""
        if not self.is_terminal:
            return None
        return os.get_terminal_size(self._fd).lines or None

    @property
    def coloured(self) -> bool:
        """Whether the output is a terminal with colours, and NO_COLOR is not set."""
        plain = os.environ.get("NO_COLOR") or os.environ.get("TERM", "dumb") == "dumb"
        return self.is_terminal and not plain


def open_output(options: argparse.Namespace, shutdown: Shutdown) -> Output:
    """Open the output. Call this after opening the source, as it truncates the file.

    Raises:
        ValueError: the output is the input file.
        OSError: the file cannot be opened.
    """
    path = options.output
    is_file = path not in (None, STANDARD) and Path(path).is_file()
    if is_file and options.input is not None:
        source = STDIN if options.input == STANDARD else options.input
        if os.path.samestat(os.stat(path), os.stat(source)):
            raise ValueError(f"--output {path} is also the input; choose another file")
    output = Output(path)
    output.reopen_on_hangup(shutdown)
    return output


def report_unwritten(source: "Source") -> None:
    """Report lost and unwritten events, when the command exits early."""
    lost = source.lost()
    source.close()
    report_lost(lost or 0)
    report_usage_lost(source.usage_lost())
    report(
        "the last events were not written: the output was blocked, or a second"
        " signal arrived"
    )
