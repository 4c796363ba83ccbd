"""The traced command: it gets the signals, and its exit status is ours."""

import contextlib
import errno
import os
import shutil
import signal
import threading

from procconn.cli.shutdown import ENDING

# Also signals that end no process by default, which the command may handle.
_PASSED = (signal.SIGCONT, signal.SIGWINCH, signal.SIGVTALRM)
_REAL_TIME = range(signal.SIGRTMIN, signal.SIGRTMAX + 1)
_AWAITED = (*ENDING, *_PASSED, *_REAL_TIME, signal.SIGCHLD)
_SI_KERNEL = 0x80  # asm-generic/siginfo.h: from the terminal, for its process group
_PYTHONS_OWN = (signal.SIGPIPE, signal.SIGXFSZ)  # the interpreter ignores them


class Child:
    """A running command, with our standard streams, in our process group.

    The terminal's signals reach it directly; others are passed on until `end` is
    called. A script without a #! line is run by the shell, as by env(1).

    Attributes:
        has_ended: set when it has ended; its PID is not reused before `end`.

    Raises:
        OSError: it cannot be started.
    """

    def __init__(self, command: list[str]) -> None:
        self._is_over = False
        self.has_ended = threading.Event()
        signal.signal(
            signal.SIGCHLD, signal.SIG_DFL
        )  # if ignored, the kernel discards the status
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
        self._passing = threading.Thread(target=self._pass_on, daemon=True)
        self._passing.start()

    def _spawn(self, command: list[str]) -> int:
        if not command[0]:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        return os.posix_spawnp(
            command[0],
            command,
            os.environ,
            setsigmask=self._before,
            setsigdef=_PYTHONS_OWN,
        )

    def end(self) -> int:
        """Wait for its end and take signals again; return what `Popen.wait` would."""
        os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
        self._is_over = True
        assert self._passing.ident is not None  # noqa: S101
        signal.pthread_kill(self._passing.ident, signal.SIGTERM)  # to wake it
        self._passing.join()
        _, status = os.waitpid(self.pid, 0)
        signal.pthread_sigmask(signal.SIG_SETMASK, self._before)
        return os.waitstatus_to_exitcode(status)

    def _pass_on(self) -> None:
        while True:
            info = signal.sigwaitinfo(_AWAITED)
            if self._is_over:
                return
            if info.si_signo == signal.SIGCHLD:
                how = os.WEXITED | os.WNOHANG | os.WNOWAIT
                if os.waitid(os.P_PID, self.pid, how) is not None:
                    self.has_ended.set()
            elif info.si_code != _SI_KERNEL and info.si_pid != self.pid:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self.pid, info.si_signo)
