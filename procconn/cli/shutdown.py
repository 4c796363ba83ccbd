"""How signals end the command.

A handler raises nothing. It notes the first signal, and when that came; a wait for
events has the descriptor that the interpreter writes to for each signal beside the
connector's, so that one which comes just before the wait ends it, too. What was
received until then is written as usual.

Where that is impossible, the process ends in the handler, its subscriptions taken back:
at a second signal, at the first one if nothing is lost by it, or if the output takes
nothing for a grace period. A signal that follows at once, as `timeout` and terminals
send them, changes nothing.
"""

import os
import select
import signal
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from procconn._stream import close_all
from procconn.clock import NS_PER_S

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
_TOGETHER_NS = NS_PER_S  # within which signals are one
_GRACE = 2.0  # seconds
_WORK = 0.001  # seconds of CPU in that time, without which it is blocked
_LONGEST_WAIT = 86_400.0  # seconds, which poll(2) can count
_MANY = 4096  # signals, a byte each
_OF_SIGNALS = 128  # and the number: what a shell shows


def shell_status(returncode: int) -> int:
    """Return the exit status that a shell shows for one of `subprocess`."""
    return returncode if returncode >= 0 else _OF_SIGNALS - returncode


class Shutdown:
    """The signals that this process got, and what to do about them.

    Args:
        expected: the signals that are a usual end, of status 0.

    Attributes:
        number: of the first signal; 0 before it.
        at_ns: when that came, on CLOCK_MONOTONIC; 0 before it.
        exit_status: what to exit with after a signal; None makes it from the number.
    """

    def __init__(self, expected: Collection[int]) -> None:
        self.number = 0
        self.at_ns = 0
        self.exit_status: int | None = None
        self._expected = expected
        self._reading, self._writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._handled: list[int] = []
        self._abandon: Callable[[], None] | None = None
        self._is_delegated = self._is_exiting = False
        self._cpu = 0.0  # of this thread when the grace period began, in seconds

    def install(self) -> None:
        """Handle the signals, except those that the caller ignores, as nohup does."""
        signal.set_wakeup_fd(self._writing, warn_on_full_buffer=False)
        for number in ENDING:
            if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
                signal.signal(number, self._handle)
                self._handled.append(number)

    def ignore_signals(self) -> None:
        """Ignore signals: the interpreter's own end takes a while, without handlers."""
        for number in self._handled:
            signal.signal(number, signal.SIG_IGN)
        signal.set_wakeup_fd(-1)
        os.close(self._reading)
        os.close(self._writing)

    def reopen_on_hangup(self, reopen: Callable[[], None]) -> None:
        """Let SIGHUP reopen a file rather than end the command."""
        if signal.SIGHUP in self._handled:
            signal.signal(signal.SIGHUP, lambda *_: reopen())

    def defer(self, abandon: Callable[[], None]) -> None:
        """Let the first signal only end what is waited for, from now on.

        Args:
            abandon: reports what is missing if the process ends before all is written.
        """
        self._abandon = abandon

    @contextmanager
    def delegated(self) -> Iterator[int]:
        """Let no signal end the process; yields what is readable for each of them."""
        self._is_delegated = True
        try:
            yield self._reading
        finally:
            self._is_delegated = False
            self.defer(lambda: None)
            if self.number:
                self._start_grace()

    def wait(self, descriptor: int, timeout: float | None) -> None:
        """Wait until a descriptor is readable, the time is up, or a signal comes."""
        poll = select.poll()
        for fd in (descriptor, self._reading):
            poll.register(fd, select.POLLIN)
        ms = None if timeout is None else 1000 * min(timeout, _LONGEST_WAIT)
        if any(fd == self._reading for fd, _ in poll.poll(ms)):
            os.read(self._reading, _MANY)

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Wait for something for a known time, which is no part of a grace period."""
        signal.setitimer(signal.ITIMER_REAL, 0)
        yield
        if self.number:
            self._start_grace()

    @property
    def status(self) -> int:
        """The exit status after a signal."""
        if self.exit_status is not None:
            return self.exit_status
        return 0 if self.number in self._expected else shell_status(-self.number)

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        now_ns = time.monotonic_ns()
        if number == signal.SIGALRM and self.number:  # the timer
            if self._is_exiting or self._is_blocked():
                self._exit()
            self._start_grace()
            return
        is_first = not self.number
        if is_first:
            self.number, self.at_ns = number, now_ns
        if self._is_delegated:
            return
        if is_first and self._abandon is not None:
            self._start_grace()
        elif is_first or now_ns >= self.at_ns + _TOGETHER_NS:
            self._exit()

    def _start_grace(self) -> None:
        self._cpu = time.thread_time()
        signal.setitimer(signal.ITIMER_REAL, _GRACE)

    def _is_blocked(self) -> bool:
        return time.thread_time() - self._cpu < _WORK

    def _exit(self) -> NoReturn:
        try:
            if self._abandon is not None and not self._is_exiting:
                self._is_exiting = True
                self._start_grace()  # standard error may be blocked as well
                self._abandon()
        finally:
            close_all()
            os._exit(self.status)
