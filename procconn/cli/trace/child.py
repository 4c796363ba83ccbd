"""The traced command: it receives our signals, and we return its exit status."""

import contextlib
import errno
import os
import shutil
import signal
import threading

from procconn.cli.shutdown import TERMINATING

# Further signals that the command may handle.
_FORWARDED = (signal.SIGCONT, signal.SIGWINCH, signal.SIGVTALRM)
_REAL_TIME = range(signal.SIGRTMIN, signal.SIGRTMAX + 1)
_AWAITED = (*TERMINATING, *_FORWARDED, *_REAL_TIME, signal.SIGCHLD)
_SI_KERNEL = 0x80  # asm-generic/siginfo.h; the terminal's signals to a process group
_IGNORED_BY_PYTHON = (signal.SIGPIPE, signal.SIGXFSZ)


class Child:
    """A running command that has our standard streams and process group.

    It gets the terminal's signals directly. Other signals are forwarded until `end` is
    called. The shell runs scripts without a #! line, as by execvp(3).

    Attributes:
        has_ended: set when the command has ended. Its PID is not reused before `end`.

    Raises:
        OSError: the command cannot be started.
    """

    def __init__(self, command: list[str]) -> None:
        self._is_ending = False
        self.has_ended = threading.Event()
        # If SIGCHLD is ignored, the kernel discards the exit status.
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self._before = signal.pthread_sigmask(signal.SIG_BLOCK, _AWAITED)
        try:
            try:
                self.pid = self._spawn(command)
            except OSError as error:
                if error.errno != errno.ENOEXEC:
                    raise
                path = shutil.which(command[0]) or command[0]
                self.pid = self._spawn(["/bin/sh", path, *command[1:]])
        except BaseException:
            signal.pthread_sigmask(signal.SIG_SETMASK, self._before)
            raise
        self._forwarder = threading.Thread(target=self._forward_signals, daemon=True)
        self._forwarder.start()

    def _spawn(self, command: list[str]) -> int:
        if not command[0]:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        return os.posix_spawnp(
            command[0],
            command,
            os.environ,
            setsigmask=self._before,
            setsigdef=_IGNORED_BY_PYTHON,
        )

    def end(self) -> int:
        """Wait for the end, and stop forwarding; return the status as `Popen.wait`."""
        os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
        self._is_ending = True
        assert self._forwarder.ident is not None  # noqa: S101
        signal.pthread_kill(
            self._forwarder.ident, signal.SIGTERM
        )  # wakes sigwaitinfo()
        self._forwarder.join()
        _, status = os.waitpid(self.pid, 0)
        signal.pthread_sigmask(signal.SIG_SETMASK, self._before)
        return os.waitstatus_to_exitcode(status)

    def _forward_signals(self) -> None:
        while True:
            info = signal.sigwaitinfo(_AWAITED)
            if self._is_ending:
                return
            if info.si_signo == signal.SIGCHLD:
                how = os.WEXITED | os.WNOHANG | os.WNOWAIT
                if os.waitid(os.P_PID, self.pid, how) is not None:
                    self.has_ended.set()
            elif info.si_code != _SI_KERNEL and info.si_pid != self.pid:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self.pid, info.si_signo)
