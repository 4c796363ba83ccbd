"""How the command ends when a signal says so, all that is open closed.

A handler raises `Ended` wherever the main thread is; what is unwound closes what it had
opened, and finalizers close what was being opened. Only while events that were received
are dealt with, it holds that back: they are told whole, and what else happened until
the signal. If they cannot be, as nobody takes the output, it ends all the same.

A signal that follows at once, as `timeout` and terminals send them, changes nothing.
One that comes later interrupts whatever is being done. So does a timer, if that does
nothing but wait, as for a terminal that is stopped.
"""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

# All that would end the process and that somebody sends on purpose.
ENDING = (
    signal.SIGHUP,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGTERM,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGALRM,
    signal.SIGXCPU,
)
TOGETHER_NS = 1_000_000_000  # within which signals are one
_PATIENCE = 2.0  # seconds
_WORK = 0.001  # seconds of CPU in that time, without which it waits for something


class Ended(BaseException):
    """A signal said to end."""


class Ending:
    """The handlers of signals, and the first one that came.

    Attributes:
        number: of the first one; 0 before it.
        at_ns: when it came, on CLOCK_MONOTONIC.
        is_held: whether the first one does not interrupt what is being done.
        interrupts: whether any does.
        reopen: what SIGHUP calls in place of ending the command, if anything.
    """

    def __init__(self) -> None:
        self.number = 0
        self.at_ns = 0
        self.is_held = False
        self.interrupts = True
        self.reopen: Callable[[], None] | None = None
        self._deaf_until_ns = 0
        self._worked = 0.0

    def prepare(self) -> None:
        """Take the signals, but not what the caller has had ignored, as nohup does."""
        for number in ENDING:
            if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
                signal.signal(number, self._end)

    def hurry(self) -> None:
        """Let what is being done from now on be interrupted if it only waits."""
        self._worked = time.thread_time()
        signal.setitimer(signal.ITIMER_REAL, _PATIENCE)

    def wait(self) -> None:
        """Let what is being done wait, if it knows for how long."""
        signal.setitimer(signal.ITIMER_REAL, 0)

    def be_deaf(self) -> None:
        """Ignore signals: the interpreter's own end takes a while, without handlers."""
        for number in ENDING:
            if signal.getsignal(number) == self._end:
                signal.signal(number, signal.SIG_IGN)

    def _end(self, number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGHUP and self.reopen is not None:
            self.reopen()
            return
        now_ns = time.monotonic_ns()
        is_first = not self.number
        is_timer = number == signal.SIGALRM and not is_first
        if not self.interrupts or (now_ns < self._deaf_until_ns and not is_timer):
            return
        may_go_on = self._is_working() if is_timer else is_first and self.is_held
        if is_first:
            self.number, self.at_ns = number, now_ns
        if not is_timer:
            self._deaf_until_ns = now_ns + TOGETHER_NS
        self.hurry()
        if not may_go_on:
            raise Ended

    def _is_working(self) -> bool:
        return time.thread_time() - self._worked >= _WORK


the_ending = Ending()
"""That of this process, whose main thread takes its signals."""


@contextmanager
def diverted(stop: Callable[[], object]) -> Iterator[None]:
    """Have signals call something at once, and end the command only behind it."""
    before = {number: signal.getsignal(number) for number in ENDING}
    taken = {number: it for number, it in before.items() if callable(it)}
    came: list[int] = []

    def handle(number: int, _frame: FrameType | None) -> None:
        came.append(number)
        stop()

    for number in taken:
        signal.signal(number, handle)
    try:
        yield
    finally:
        for number, handler in taken.items():
            signal.signal(number, handler)
    if came:
        signal.raise_signal(came[0])
