"""Standard output, without a buffer: nothing is left for the exit to flush."""

import os
import select

_STDOUT = 1


def write(text: str) -> None:
    """Write all of it, also where it does not block."""
    left = memoryview(text.encode(errors="backslashreplace"))
    while left:
        try:
            left = left[os.write(_STDOUT, left) :]
        except BlockingIOError:  # whoever shares it made it so
            select.select([], [_STDOUT], [])
