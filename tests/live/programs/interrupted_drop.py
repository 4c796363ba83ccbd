"""Drop connectors while a trace function raises at each call in turn."""

import os
import sys

from procconn import EventMask, ProcConnector

calls = 0


def interrupt(*_: object) -> None:
    """Raise at the last of the calls."""
    global calls  # noqa: PLW0603
    calls -= 1
    if calls == 0:
        raise KeyboardInterrupt


sys.unraisablehook = id  # which nothing can interrupt
before = os.listdir("/proc/self/fd")
for moment in range(1, 9):
    connectors = [ProcConnector(EventMask.NONE)]
    calls = moment
    sys.settrace(interrupt)
    try:  # noqa: SIM105  # suppress() would be traced too
        connectors.pop()
    except KeyboardInterrupt:
        pass
    sys.settrace(None)
    assert calls < moment
    assert os.listdir("/proc/self/fd") == before
