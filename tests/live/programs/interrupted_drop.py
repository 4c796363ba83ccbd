"""Drop the last reference to a connector while a trace function raises an exception.

Each round raises at a later call.
"""

import os
import sys

from procconn import EventMask, ProcConnector

calls_left = 0


def interrupt(*_: object) -> None:
    """Raise KeyboardInterrupt at the last call."""
    global calls_left  # noqa: PLW0603
    calls_left -= 1
    if calls_left == 0:
        raise KeyboardInterrupt


sys.unraisablehook = id  # a C function, so it is not traced
before = os.listdir("/proc/self/fd")
for call in range(1, 9):
    connectors = [ProcConnector(EventMask.NONE)]
    calls_left = call
    sys.settrace(interrupt)
    try:  # noqa: SIM105  # suppress() would be traced too
        connectors.pop()
    except KeyboardInterrupt:
        pass
    sys.settrace(None)
    assert calls_left < call
    assert os.listdir("/proc/self/fd") == before
