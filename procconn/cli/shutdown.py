"""How signals end the command.

No handler raises an exception. A handler records the first signal and its time, which
becomes the end of what is read. A wait for events also polls the descriptor that the
interpreter writes a byte to for each signal, so a signal that arrives just before the
wait ends it. Events that happened until then are written as usual.

In three cases the handler takes the subscriptions back and exits the process: at a
first signal while nothing is lost by that, at a second signal, and if the main thread
is blocked for a grace period, as by an output that nobody reads. Signals within a
second count as one, as `timeout` and terminals send several.
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

# Signals that end a process by default and that are sent on purpose.
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
FAILED = 2  # exit status, as of argparse
_TOGETHER_NS = NS_PER_S  # signals within this time count as one
_GRACE = 2.0  # seconds
_WORK = 0.001  # seconds of CPU time; a thread that uses less in that time is blocked
_LONGEST_WAIT = 86_400.0  # seconds; poll(2) takes an int of milliseconds
_READ_SIZE = 4096  # bytes, one for each signal
_SIGNAL_BASE = 128  # shells add the signal's number to it


def shell_status(returncode: int) -> int:
    """Return the exit status that a shell shows for a `returncode` of `subprocess`."""
    return returncode if returncode >= 0 else _SIGNAL_BASE - returncode


class Shutdown:
    """The signals that this process received, and when they end it.

    Args:
        expected: signals after which the exit status is 0.

    Attributes:
        number: of the first signal; 0 before it.
        at_ns: when it arrived, on CLOCK_MONOTONIC; 0 before it.
        exit_status: the exit status after a signal; None derives it from `number`.
    """

    def __init__(self, expected: Collection[int]) -> None:
        self.number = 0
        self.at_ns = 0
        self.exit_status: int | None = None
        self._expected = expected
        self._reading, self._writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._handled: list[int] = []
        self._abandon: Callable[[], None] | None = None
        self._is_delegated = self._is_waiting = self._is_exiting = False
        self._quiet_until_ns = 0  # further signals are ignored until then
        self._cpu = 0.0  # this thread's CPU time at the start of the grace period

    def install(self) -> None:
        """Install the handlers, except for signals that are ignored, as under nohup."""
        signal.set_wakeup_fd(self._writing, warn_on_full_buffer=False)
        for number in ENDING:
            if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
                signal.signal(number, self._handle)
                self._handled.append(number)

    def ignore_signals(self) -> None:
        """Ignore signals from now on: the interpreter exits without handlers."""
        for number in self._handled:
            signal.signal(number, signal.SIG_IGN)
        signal.set_wakeup_fd(-1)
        os.close(self._reading)
        os.close(self._writing)

    def reopen_on_hangup(self, reopen: Callable[[], None]) -> None:
        """Call a function on SIGHUP instead of ending the command."""
        if signal.SIGHUP in self._handled:
            signal.signal(signal.SIGHUP, lambda *_: reopen())

    def defer(self, abandon: Callable[[], None]) -> None:
        """Let the first signal only end the waits, from now on.

        Args:
            abandon: called if the process exits before everything is written.
        """
        self._abandon = abandon

    @contextmanager
    def delegated(self, abandon: Callable[[], None]) -> Iterator[int]:
        """Leave the signals to the caller; yield a descriptor with a byte for each.

        Args:
            abandon: called if the block fails and the process exits before the
                exception is reported.
        """
        self._is_delegated = True
        self.defer(abandon)
        try:
            yield self._reading
            self.defer(lambda: None)
        except BaseException:
            self.exit_status = FAILED
            raise
        finally:
            self._quiet_until_ns = time.monotonic_ns() + _TOGETHER_NS
            self._is_delegated = False
            if self.number:
                self._start_grace()

    def wait(self, descriptor: int, timeout: float | None) -> None:
        """Wait until a descriptor is readable, a signal arrives, or the time is up."""
        poll = select.poll()
        for fd in (descriptor, self._reading):
            poll.register(fd, select.POLLIN)
        ms = None if timeout is None else 1000 * min(timeout, _LONGEST_WAIT)
        if any(fd == self._reading for fd, _ in poll.poll(ms)):
            os.read(self._reading, _READ_SIZE)

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Suspend the grace period during a wait of limited time."""
        self._is_waiting = True
        signal.setitimer(signal.ITIMER_REAL, 0)
        try:
            yield
        finally:
            self._is_waiting = False
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
        is_first = not self.number
        if is_first:
            self.number, self.at_ns = number, now_ns
            self._quiet_until_ns = now_ns + _TOGETHER_NS
        if self._is_delegated:
            return
        if is_first:
            may_go_on = self._abandon is not None
        elif number == signal.SIGALRM:  # the grace period is over
            may_go_on = not (self._is_exiting or self._is_blocked())
        elif now_ns < self._quiet_until_ns:
            return
        else:
            may_go_on = False
        if not may_go_on:
            self._exit()
        if not self._is_waiting:
            self._start_grace()

    def _start_grace(self) -> None:
        self._cpu = time.thread_time()
        signal.setitimer(signal.ITIMER_REAL, _GRACE)

    def _is_blocked(self) -> bool:
        used = time.thread_time() - self._cpu
        return used < _WORK and not self._is_waiting

    def _exit(self) -> NoReturn:
        try:
            if self._abandon is not None and not self._is_exiting:
                self._is_exiting = True
                self._start_grace()  # standard error may be blocked as well
                self._abandon()
        finally:
            close_all()
            os._exit(self.status)
