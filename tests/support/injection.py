"""Actions at any point in the library's Python code."""

import gc
import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def interposed(moment: int, action: Callable[[], object]) -> Iterator[list[bool]]:
    """Act in the midst of the library's code, as a signal handler or a thread may.

    Python lets them run where a function begins and where a call of C has come back.

    Args:
        moment: at how manieth of these; the first is 0.
        action: may raise, as a signal handler may.

    Yields:
        A list that is empty until it was done.
    """
    done: list[bool] = []
    left = moment

    def look(frame: FrameType, event: str, _: object) -> None:
        nonlocal left
        if event not in ("call", "c_return", "c_exception") or done:
            return
        if not frame.f_globals["__name__"].startswith("procconn."):
            return
        if frame.f_code.co_flags & inspect.CO_GENERATOR:
            return  # it may be ending, when an exception is told to nobody
        if left:
            left -= 1
            return
        done.append(True)
        sys.setprofile(None)
        action()

    gc.disable()  # the library's finalizers, run for others, are not what is meant
    sys.setprofile(look)
    try:
        yield done
    finally:
        sys.setprofile(None)
        gc.enable()
