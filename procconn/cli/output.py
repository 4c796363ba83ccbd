"""Where lines go: standard output or a file, with no buffer to be flushed."""

import argparse
import contextlib
import errno
import os
import select
import sys
from collections.abc import Iterable
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING, BinaryIO

from procconn.cli.shutdown import Shutdown
from procconn.files import open_private

if TYPE_CHECKING:
    from procconn.cli.source import Source

STANDARD = "-"
"""What stands for standard input or output where a file is named."""

_STDIN, _STDOUT, _STDERR = range(3)
# Appending, so that a log rotation that copies and truncates the file leaves no hole.
_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
_MANY = 65_536  # characters that are written at once
_PATIENCE = 1.0  # seconds for what is told to be taken, at the end


def occupy_closed_descriptors() -> None:
    """Keep files that are opened from becoming a standard stream that is closed.

    What takes their places can be neither read nor written, and a command that is run
    does not inherit it: there they are closed as well.
    """
    for fd in range(_STDERR + 1):
        try:
            os.fstat(fd)
        except OSError:  # and those below are open, so it gets this number
            os.open("/", os.O_PATH | os.O_CLOEXEC)


def standard_output() -> int:
    """Return the descriptor of standard output.

    Raises:
        OSError: it was closed when the command was started.
    """
    if sys.stdout is None:
        raise OSError(
            errno.EBADF,
            "standard output is closed; redirect it to /dev/null if it is not wanted",
        )
    return _STDOUT


def standard_input() -> BinaryIO:
    """Return standard input.

    Raises:
        OSError: it was closed when the command was started.
    """
    if sys.stdin is None:
        raise OSError(errno.EBADF, "standard input is closed; redirect it from a file")
    return sys.stdin.buffer


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
        output._fd = _STDERR if sys.stderr is not None else -1
        return output

    def write(self, text: str) -> None:
        """Write all of it, also where it does not block; OSError names the file."""
        self.write_bytes(text.encode(errors="backslashreplace"))

    def write_bytes(self, data: bytes) -> None:
        """Write all of it, as `write`."""
        if self._fd < 0:
            return
        left = memoryview(data)
        self._is_writing = True
        try:
            while left:
                try:
                    left = left[os.write(self._fd, left) :]
                except BlockingIOError:  # whoever shares it made it so
                    select.select([], [self._fd], [])
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
        if self._path is not None and not os.isatty(_STDOUT):
            shutdown.reopen_on_hangup(self.reopen)

    def reopen(self) -> None:
        """Open the file by its name once more, to append; between two writes."""
        self._is_due = self._is_writing
        if self._is_due or self._path is None:
            return
        try:
            fd = open_private(self._path, _FLAGS)
        except OSError as error:
            tell(f"{self._path}: cannot be reopened: {error.strerror}")
            return
        os.dup2(fd, self._fd, inheritable=False)
        os.close(fd)

    @property
    def is_terminal(self) -> bool:
        """Whether people read it as it comes."""
        return self._fd >= 0 and os.isatty(self._fd)

    @property
    def width(self) -> int | None:
        """The columns of the terminal; None if it is none, or does not say."""
        if not self.is_terminal:
            return None
        return os.get_terminal_size(self._fd).columns or None

    @property
    def height(self) -> int | None:
        """The lines of the terminal; None if it is none, or does not say."""
        if not self.is_terminal:
            return None
        return os.get_terminal_size(self._fd).lines or None

    @property
    def coloured(self) -> bool:
        """Whether it is a terminal that shows colours, and they are wanted."""
        plain = os.environ.get("NO_COLOR") or os.environ.get("TERM", "dumb") == "dumb"
        return self.is_terminal and not plain


def open_output(options: argparse.Namespace, shutdown: Shutdown) -> Output:
    """Open what was asked for, after the source: what the file had is lost by that.

    Raises:
        ValueError: it is what is read.
        OSError: the file cannot be opened.
    """
    path = options.output
    is_file = path not in (None, STANDARD) and Path(path).is_file()
    if is_file and options.input is not None:
        read = _STDIN if options.input == STANDARD else options.input
        if os.path.samestat(os.stat(path), os.stat(read)):
            raise ValueError(f"{path} is what is read; name another file for --output")
    output = Output(path)
    output.reopen_on_hangup(shutdown)
    return output


class Progress:
    """What is told meanwhile: messages, and a line that the next one replaces.

    A thread writes, as a terminal may be stopped and others may not read: nobody waits
    for that here. What goes wrong with it ends the showing, and nothing else.
    """

    def __init__(self) -> None:
        self._output = Output.of_errors()
        self.is_seen = self._output.is_terminal
        self._texts: SimpleQueue[str | None] = SimpleQueue()
        self._thread = Thread(target=self._write, daemon=True)
        self._thread.start()

    def show(self, text: str) -> None:
        """Show a line, if people see it and the last one was taken."""
        if self.is_seen and self._texts.empty():
            self._texts.put(f"\r{text}\x1b[K")

    def tell(self, message: str) -> None:
        """Tell a message, in place of the line."""
        clear = "\r\x1b[K" if self.is_seen else ""
        self._texts.put(f"{clear}procconn: {message}\n")

    def end(self) -> None:
        """Leave the line that is there."""
        self._texts.put("\n" if self.is_seen else "")
        self._texts.put(None)
        self._thread.join(_PATIENCE)

    def _write(self) -> None:
        try:
            for text in iter(self._texts.get, None):
                self._output.write(text)
        except OSError:  # such as a terminal that was closed
            self.is_seen = False


def tell(message: str) -> None:
    """Tell a message on standard error, unless that is closed or gone."""
    if sys.stderr is None:
        return
    # Not by print(), which a signal handler may have interrupted.
    data = f"procconn: {message}\n".encode(sys.stderr.encoding, "backslashreplace")
    with contextlib.suppress(OSError):  # such as a terminal that was closed
        Output.of_errors().write_bytes(data)


def tell_lost(count: int, helps: str = "a faster reader of the output") -> None:
    """Tell how many events were lost, if any were, and what helps."""
    if count:
        tell(
            f"{count} events were lost: the kernel's buffer was full. What helps: fewer"
            f" --events, a larger net.core.rmem_max or CAP_NET_ADMIN, and {helps}"
        )


def tell_usage_lost(count: int) -> None:
    """Tell of how many tasks the usage was lost, if that was, and what helps."""
    if count:
        tell(
            f"what {count} tasks used was lost: the kernel's buffer for that was full,"
            " as this process had no processor for too long. What helps: fewer others"
            " that keep the machine busy, or a better priority, as with nice -n -5"
        )


def tell_unwritten(source: "Source") -> None:
    """Tell what is missing where the command ends before all is written."""
    lost = source.lost()
    source.close()
    tell_lost(lost or 0)
    tell_usage_lost(source.usage_lost())
    tell(
        "what happened last is not told: the output took nothing more, or"
        " another signal came"
    )
