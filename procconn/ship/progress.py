"""Messages and a progress line on standard error."""

import os
from queue import SimpleQueue
from threading import Thread

from procconn.pipeline.standard_streams import standard_error, write_all

_PATIENCE = 1.0  # seconds to wait for blocked output at the end


class Progress:
    """Prints messages, and a progress line that is updated in place.

    A thread writes, so that a stopped terminal or a full pipe does not block the
    caller. A write error ends the output only.

    Attributes:
        is_terminal: whether standard error is a terminal that can be written to.
    """

    def __init__(self) -> None:
        self._descriptor = standard_error()
        self.is_terminal = self._descriptor >= 0 and os.isatty(self._descriptor)
        self._texts: SimpleQueue[str | None] = SimpleQueue()
        self._thread = Thread(target=self._write, daemon=True)
        self._thread.start()

    def show(self, text: str) -> None:
        """Update the line, if this is a terminal and has taken the previous one."""
        if self.is_terminal and self._texts.empty():
            self._texts.put(f"\r{text}\x1b[K")

    def report(self, message: str) -> None:
        """Print a message in place of the progress line."""
        clear = "\r\x1b[K" if self.is_terminal else ""
        self._texts.put(f"{clear}procconn: {message}\n")

    def end(self) -> None:
        """Keep the last line, and stop the thread."""
        self._texts.put("\n" if self.is_terminal else "")
        self._texts.put(None)
        self._thread.join(_PATIENCE)

    def _write(self) -> None:
        try:
            for text in iter(self._texts.get, None):
                if self._descriptor >= 0:
                    data = text.encode(errors="backslashreplace")
                    write_all(self._descriptor, data)
        except OSError:  # such as a terminal that was closed
            self.is_terminal = False
