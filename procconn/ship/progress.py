"""Messages and progress while events are sent."""

import os
from queue import SimpleQueue
from threading import Thread

from procconn.pipeline.standard_streams import standard_error, write_all

_PATIENCE = 1.0  # seconds to wait for the output at the end


class Progress:
    """Messages on standard error, and a line there that the next one replaces.

    A thread writes, as a terminal may be stopped and a pipe may be full, which must not
    block the caller. An error ends the output, and nothing else.

    Attributes:
        is_seen: whether standard error is a terminal.
    """

    def __init__(self) -> None:
        self._descriptor = standard_error()
        self.is_seen = self._descriptor >= 0 and os.isatty(self._descriptor)
        self._texts: SimpleQueue[str | None] = SimpleQueue()
        self._thread = Thread(target=self._write, daemon=True)
        self._thread.start()

    def show(self, text: str) -> None:
        """Show a line on a terminal, unless the previous one is still unwritten."""
        if self.is_seen and self._texts.empty():
            self._texts.put(f"\r{text}\x1b[K")

    def report(self, message: str) -> None:
        """Print a message in place of the line."""
        clear = "\r\x1b[K" if self.is_seen else ""
        self._texts.put(f"{clear}procconn: {message}\n")

    def end(self) -> None:
        """Keep the last line, and stop."""
        self._texts.put("\n" if self.is_seen else "")
        self._texts.put(None)
        self._thread.join(_PATIENCE)

    def _write(self) -> None:
        try:
            for text in iter(self._texts.get, None):
                if self._descriptor >= 0:
                    data = text.encode(errors="backslashreplace")
                    write_all(self._descriptor, data)
        except OSError:  # such as a terminal that was closed
            self.is_seen = False
