"""Where lines go: standard output or a file, with no buffer to be flushed."""

import argparse
import os
import select
import sys
from pathlib import Path
from queue import SimpleQueue
from threading import Thread

_STDOUT, _STDERR = 1, 2
_PATIENCE = 1.0  # seconds for what is told to be taken, at the end


class Output:
    """A file that is written whole lines at a time, or standard output.

    Args:
        path: the file, which is emptied first; None is standard output.

    Raises:
        OSError: the file cannot be opened.
    """

    def __init__(self, path: str | None = None) -> None:
        self._fd = _STDOUT
        if path is not None:
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
            self._fd = os.open(path, flags, 0o666)

    @classmethod
    def of_errors(cls) -> "Output":
        """Take standard error, also where that is closed: then nothing is written."""
        output = cls()
        output._fd = _STDERR if sys.stderr is not None else -1
        return output

    def write(self, text: str) -> None:
        """Write all of it, also where it does not block."""
        if self._fd < 0:
            return
        left = memoryview(text.encode(errors="backslashreplace"))
        while left:
            try:
                left = left[os.write(self._fd, left) :]
            except BlockingIOError:  # whoever shares it made it so
                select.select([], [self._fd], [])

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


def open_output(options: argparse.Namespace) -> Output:
    """Open what was asked for, after the source: what the file had is lost by that.

    Raises:
        ValueError: it is what is read.
        OSError: the file cannot be opened.
    """
    path = options.output
    is_there = path and Path(path).is_file()
    if is_there and options.input and Path(path).samefile(options.input):
        raise ValueError(f"{path} is what is read; name another file for --output")
    return Output(path)


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
    if sys.stderr is not None:  # else print() writes to standard output
        try:
            print(f"procconn: {message}", file=sys.stderr)
        except OSError:  # such as a terminal that was closed
            return


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
