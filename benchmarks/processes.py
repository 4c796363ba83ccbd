"""Readers and loads as processes, and what the operating system charges for them."""

import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from subprocess import DEVNULL, PIPE, Popen, TimeoutExpired
from typing import IO, Any

_HERE = Path(__file__).parent
ROOT = _HERE.parent
BUILD = ROOT / "build"
FLOOR = BUILD / "floor"

_PATIENCE = 120.0  # seconds that anything may take
_CPUCLOCK_SCHED = 2


# The load has a CPU to itself: beside it, a reader that sleeps for each event
# would cost one time a fifth of another, depending on which CPU it wakes on.
_PROCESSORS = sorted(os.sched_getaffinity(0))
_OF_LOAD = _PROCESSORS[-1]


def compile_c(name: str, *flags: str) -> Path:
    """Build one of the C programs beside this file."""
    BUILD.mkdir(exist_ok=True)
    source, program = _HERE / f"{name}.c", BUILD / name
    subprocess.run(
        ["cc", "-std=c11", "-O2", "-Wall", *flags, source, "-o", program], check=True
    )
    return program


def prepare() -> None:
    """Build the load; keep this process and readers off its CPU."""
    compile_c("floor")
    os.sched_setaffinity(0, _PROCESSORS[:-1] or _PROCESSORS)


def run_storm(count: int, interval_ns: int = 0) -> int:
    """Make comm events; return the nanoseconds each took."""
    return _run_floor("storm", count, interval_ns)


def run_forks(count: int) -> int:
    """Make processes that end at once; return the nanoseconds each took."""
    return _run_floor("forks", count)


def run_execs(count: int, interval_ns: int = 0) -> int:
    """Run /bin/true so often; return the nanoseconds each took."""
    return _run_floor("execs", count, interval_ns)


def _run_floor(*arguments: object) -> int:
    done = subprocess.run(
        ["taskset", "--cpu-list", str(_OF_LOAD), FLOOR, *map(str, arguments)],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=_PATIENCE,
    )
    return int(done.stdout)


class Process:
    """A running process, and the operating system's account of it."""

    def __init__(
        self,
        arguments: list[object],
        stdout: int | IO[str] = PIPE,
        stderr: int | IO[str] | None = None,
        user: str | None = None,
    ) -> None:
        self._popen = Popen(
            list(map(str, arguments)),
            stdin=PIPE,
            stdout=stdout,
            stderr=stderr,
            text=True,
            cwd=ROOT,
            user=user,
        )
        self.pid = self._popen.pid

    def cpu_ns(self) -> int:
        """Tell the CPU time of all its threads so far: clock_getcpuclockid(3)."""
        return time.clock_gettime_ns((~self.pid << 3) | _CPUCLOCK_SCHED)

    def is_idle(self) -> bool:
        """Look for a moment if it does nothing."""
        before_ns = self.cpu_ns()
        time.sleep(0.1)
        return self.cpu_ns() - before_ns < 1_000_000

    def rest(self) -> None:
        """Wait until it does nothing."""
        _wait_until(self.is_idle)

    def threads(self) -> list[int]:
        """List the ids of its threads."""
        return [int(task.name) for task in Path(f"/proc/{self.pid}/task").iterdir()]

    def thread_cpu_ns(self) -> dict[str, int]:
        """Return the CPU time of its threads so far, by what they do."""
        times: dict[str, int] = {}
        for thread in self.threads():
            name = "Python"
            policy = os.sched_getscheduler(thread) & ~os.SCHED_RESET_ON_FORK
            if policy == os.SCHED_FIFO:
                name = "reading programs"
            elif thread != self.pid and os.getpriority(os.PRIO_PROCESS, thread) < 0:
                name = "receiving"
            schedstat = Path(f"/proc/{self.pid}/task/{thread}/schedstat").read_text()
            times[name] = times.get(name, 0) + int(schedstat.split()[0])
        return times

    def subscribed(self) -> None:
        """Wait until it listens and does nothing."""
        _wait_until(lambda: self._socket() != [])
        self.rest()

    def dropped(self) -> int:
        """Tell how many events the kernel has dropped for it."""
        return int(self._socket()[8])

    def interrupt(self) -> None:
        """Send what Ctrl-C does."""
        self._popen.send_signal(signal.SIGINT)

    def close(self) -> None:
        """End its input, and the process if that does not; wait for it."""
        assert self._popen.stdin is not None
        self._popen.stdin.close()
        try:
            self._popen.wait(0.5)
        except TimeoutExpired:
            self._popen.terminate()
            try:
                self._popen.wait(_PATIENCE)
            except TimeoutExpired:
                self._popen.kill()
                raise
        if self._popen.stdout is not None:
            self._popen.stdout.close()
        if self._popen.returncode in (-signal.SIGSEGV, -signal.SIGABRT):
            print(f"{self._popen.args!r} crashed", file=sys.stderr)

    def _socket(self) -> list[str]:
        """Find its row: the port is its pid."""
        ports = {int(row[2]): row for row in _listening()}
        return ports.get(self.pid, [])

    def _read_line(self) -> str:
        assert self._popen.stdout is not None
        if not select.select([self._popen.stdout], [], [], _PATIENCE)[0]:
            raise TimeoutError(f"nothing heard from {self._popen.args!r}")
        return self._popen.stdout.readline()

    def _write_line(self) -> None:
        assert self._popen.stdin is not None
        self._popen.stdin.write("\n")
        self._popen.stdin.flush()


class Reader(Process):
    """A reader of ours, in C or Python, that is subscribed and waits to begin."""

    def __init__(self, arguments: list[object]) -> None:
        super().__init__(arguments)
        if self._read_line() != "ready\n":
            raise RuntimeError(f"{arguments} did not begin")
        self._before_ns = self.cpu_ns()

    def begin(self) -> None:
        """Let it read."""
        self._write_line()

    def finish(self) -> None:
        """Tell one that would read for ever that it is enough."""
        self._write_line()

    def result(self) -> dict[str, Any]:
        """Wait until it has read what it should; add the CPU time that took, in ns."""
        result: dict[str, Any] = json.loads(self._read_line())
        result["cpu_ns"] = self.cpu_ns() - self._before_ns
        return result


class Forkstat(Process):
    """The forkstat program, printing events of some kinds to nobody."""

    def __init__(self, events: str) -> None:
        super().__init__(["forkstat", "-e", events], stdout=DEVNULL)
        self.subscribed()
        self._before_ns = self.cpu_ns()
        self._dropped_before = self.dropped()

    def begin(self) -> None:
        """Do nothing: it reads already."""

    def result(self) -> dict[str, Any]:
        """Wait until it has read everything; return the CPU time and the drops."""
        _wait_until(lambda: self._socket()[4] == "0" and self.is_idle())
        return {
            "cpu_ns": self.cpu_ns() - self._before_ns,
            "lost": self.dropped() - self._dropped_before,
        }

    def close(self) -> None:
        """Stop it so that it unsubscribes."""
        self.interrupt()
        super().close()


class Command(Process):
    """The procconn command, printing to nobody."""

    def __init__(self, *arguments: str) -> None:
        self._stderr = tempfile.TemporaryFile("w+")  # noqa: SIM115 - until `lost`
        super().__init__(
            [sys.executable, "-m", "procconn", *arguments], DEVNULL, self._stderr
        )
        _wait_until(lambda: self.cpu_ns() > 0)
        self.rest()

    def lost(self) -> int:
        """Wait until it has printed everything, stop it, and hear what it lost."""
        self.rest()
        self.interrupt()
        self.close()
        with self._stderr as stderr:
            stderr.seek(0)
            lost = re.search(r"(\d+) events were lost", stderr.read())
        return int(lost[1]) if lost else 0


def listeners() -> int:
    """Count the sockets that process events are sent to, whosever they are."""
    return len(_listening())


def _listening() -> list[list[str]]:
    """Read the rows of sockets of protocol 11, the connector, in its group 1."""
    lines = Path("/proc/net/netlink").read_text().splitlines()[1:]
    rows = [line.split() for line in lines]
    return [row for row in rows if row[1] == "11" and int(row[3], 16) & 1]


def _wait_until(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not happened():
        if time.monotonic() > deadline:
            raise TimeoutError("a reader did not come to rest")
        time.sleep(0.005)


def has_forkstat() -> bool:
    """Tell if forkstat is installed."""
    return shutil.which("forkstat") is not None


def in_c(mode: str, count: int) -> Reader:
    """Start a reader of floor.c."""
    return Reader([FLOOR, mode, count])


def in_python(name: str, *arguments: object, **settings: object) -> Reader:
    """Start a reader of readers.py."""
    named = [f"{setting}={json.dumps(value)}" for setting, value in settings.items()]
    module = "benchmarks.readers"
    return Reader([sys.executable, "-m", module, name, *arguments, *named])
