"""Injects exceptions and calls at every point of the library's Python code."""

import gc
import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_MOST_POINTS = 10_000


class Injection:
    """An action at one point of the library's code, in the thread that runs it.

    A point is where Python lets signal handlers and other threads run: a function
    begins, or a C call has returned.

    Attributes:
        reached: whether the action ran in the last block.
    """

    _points_before: int
    _action: Callable[[], object]

    def __init__(self, point: int) -> None:
        self._point = point
        self.reached = False

    @contextmanager
    def armed(self, action: Callable[[], object]) -> Iterator[None]:
        """Run the action when the block reaches the point.

        Args:
            action: may raise, as a signal handler may.
        """
        self._points_before, self._action = self._point, action
        self.reached = False
        gc.disable()  # finalizers of the library are no points of the code under test
        sys.setprofile(self._profile)
        try:
            yield
        finally:
            sys.setprofile(None)
            gc.enable()

    def _profile(self, frame: FrameType, event: str, _: object) -> None:
        if self.reached or not self._is_point(frame, event):
            return
        if self._points_before:
            self._points_before -= 1
            return
        self.reached = True
        sys.setprofile(None)
        self._action()

    @staticmethod
    def _is_point(frame: FrameType, event: str) -> bool:
        if event not in ("call", "c_return", "c_exception"):
            return False
        if not frame.f_globals["__name__"].startswith("procconn."):
            return False
        # Python discards an exception in a generator that is being closed.
        return not frame.f_code.co_flags & inspect.CO_GENERATOR


def inject_at_each_point(run: Callable[[Injection], object]) -> int:
    """Call `run` with an injection at each point, until one is not reached.

    Returns:
        How many points were reached.
    """
    for point in range(_MOST_POINTS):
        injection = Injection(point)
        run(injection)
        if not injection.reached:
            return point
    raise AssertionError(f"more than {_MOST_POINTS} points")
