"""Signal handling: end the command without losing events that were received.

Handlers raise no exceptions. The first signal sets the time at which reading ends;
earlier events are written as usual. Waits for events also poll the wakeup descriptor
(signal.set_wakeup_fd), so a signal that arrives just before a wait ends it.

In three cases the handler unsubscribes and exits the process at once: at the first
signal if there is nothing to write yet, at a second signal, and if the main thread is
blocked for a grace period, for example by a full pipe. Signals within a second count as
one, because `timeout` and terminals send several.
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
from procconn.pipeline.stop import SIGNAL_READ_SIZE, SIGNAL_REPEAT

# Signals that terminate a process by default and that users or systems send.
TERMINATING = (
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
_REPEAT_NS = int(SIGNAL_REPEAT * NS_PER_S)
_GRACE = 2.0  # seconds
_MIN_CPU = 0.001  # seconds; a thread that used less in a grace period is blocked
_LONGEST_WAIT = 86_400.0  # seconds; poll(2) takes an int of milliseconds
_SIGNAL_BASE = 128  # exit status of shells: 128 + the signal number


def shell_status(returncode: int) -> int:
    """Convert a `returncode` of `subprocess` to the exit status that a shell shows."""
    return returncode if returncode >= 0 else _SIGNAL_BASE - returncode


class Shutdown:
    """Signal handlers, and the state of the shutdown that they start.

    Args:
        expected: signals after which the exit status is 0.

    Attributes:
        number: the first signal; 0 before it arrives.
        at_ns: its time of arrival on CLOCK_MONOTONIC; 0 before.
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
        """Install the handlers. Signals that are ignored stay so, as under nohup."""
        signal.set_wakeup_fd(self._writing, warn_on_full_buffer=False)
        for number in TERMINATING:
            if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
                signal.signal(number, self._handle)
                self._handled.append(number)

    def ignore_signals(self) -> None:
        """Ignore signals while the interpreter exits, when handlers no longer run."""
        for number in self._handled:
            signal.signal(number, signal.SIG_IGN)
        signal.set_wakeup_fd(-1)
        os.close(self._reading)
        os.close(self._writing)

    def reopen_on_hangup(self, reopen: Callable[[], None]) -> None:
        """Call a function on SIGHUP, which then does not end the command."""
        if signal.SIGHUP in self._handled:
            signal.signal(signal.SIGHUP, lambda *_: reopen())

    def defer_exit(self, abandon: Callable[[], None]) -> None:
        """From now on, the first signal ends waits, but does not exit the process.

        Args:
            abandon: called if the process exits before everything is written.
        """
        self._abandon = abandon

    @contextmanager
    def delegated(self, abandon: Callable[[], None]) -> Iterator[int]:
        """Leave signals to the caller; yield a descriptor that has a byte for each.

        Args:
            abandon: called if the block fails and the process exits before the
                exception is reported.
        """
        self._is_delegated = True
        self.defer_exit(abandon)
        try:
            yield self._reading
            self.defer_exit(lambda: None)
        except BaseException:
            self.exit_status = FAILED
            raise
        finally:
            self._quiet_until_ns = time.monotonic_ns() + _REPEAT_NS
            self._is_delegated = False
            if self.number:
                self._start_grace()

    def wait(self, descriptor: int, timeout: float | None) -> None:
        """Wait for a readable descriptor, a signal, or the timeout in seconds."""
        poll = select.poll()
        for fd in (descriptor, self._reading):
            poll.register(fd, select.POLLIN)
        ms = None if timeout is None else 1000 * min(timeout, _LONGEST_WAIT)
        if any(fd == self._reading for fd, _ in poll.poll(ms)):
            os.read(self._reading, SIGNAL_READ_SIZE)

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Suspend the grace period during a wait with a timeout."""
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
            self._quiet_until_ns = now_ns + _REPEAT_NS
        if self._is_delegated:
            return
        if is_first:
            may_continue = self._abandon is not None
        elif number == signal.SIGALRM:  # the grace period is over
            may_continue = not (self._is_exiting or self._is_blocked())
        elif now_ns < self._quiet_until_ns:
            return
        else:
            may_continue = False
        if not may_continue:
            self._exit()
        if not self._is_waiting:
            self._start_grace()

    def _start_grace(self) -> None:
        self._cpu = time.thread_time()
        signal.setitimer(signal.ITIMER_REAL, _GRACE)

    def _is_blocked(self) -> bool:
        used = time.thread_time() - self._cpu
        return used < _MIN_CPU and not self._is_waiting

    def _exit(self) -> NoReturn:
        try:
            if self._abandon is not None and not self._is_exiting:
                self._is_exiting = True
                self._start_grace()  # standard error may be blocked as well
                self._abandon()
        finally:
            close_all()
            os._exit(self.status)
