"""How the command ends when a signal says so: at once, all that is open closed.

A handler raises `Ended` wherever the main thread is; what is unwound closes what it had
opened, and finalizers close what was being opened. A signal that follows at once, as
`timeout` and terminals send them, changes nothing. One that comes later interrupts also
what blocks meanwhile, such as a last line for a terminal that is stopped.
"""

import signal
import time
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
_TOGETHER = 1.0  # seconds within which signals are one


class Ended(BaseException):
    """A signal said to end."""


class Ending:
    """The handlers of signals, and the first one that came."""

    def __init__(self) -> None:
        self.number = 0
        self.interrupts = True
        self._deaf_until = 0.0

    def prepare(self) -> None:
        """Take the signals, but not what the caller has had ignored, as nohup does."""
        for number in ENDING:
            if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
                signal.signal(number, self._end)

    def be_deaf(self) -> None:
        """Ignore signals: the interpreter's own end takes a while, without handlers."""
        for number in ENDING:
            if signal.getsignal(number) == self._end:
                signal.signal(number, signal.SIG_IGN)

    def _end(self, number: int, _frame: FrameType | None) -> None:
        self.number = self.number or number
        now = time.monotonic()
        if self.interrupts and now >= self._deaf_until:
            self._deaf_until = now + _TOGETHER
            raise Ended
