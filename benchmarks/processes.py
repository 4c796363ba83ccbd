"""Readers and loads as processes, and the CPU time that they use."""

import json
import os
import re
import select
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from subprocess import DEVNULL, PIPE, Popen, TimeoutExpired
from typing import IO, Any, NamedTuple

_HERE = Path(__file__).parent
ROOT = _HERE.parent
BUILD = ROOT / "build"
FLOOR = BUILD / "floor"
PROCCONN_COMMAND = (sys.executable, "-m", "procconn")

_TIMEOUT = 120.0  # seconds
_CPUCLOCK_SCHED = 2

# The load has a CPU to itself. On a shared one, a reader that sleeps for each event
# costs five times as much in one run as in another, depending on where it wakes.
_CPUS = sorted(os.sched_getaffinity(0))
_LOAD_CPU = _CPUS[-1]


def compile_c(name: str, *flags: str) -> Path:
    """Compile one of the C programs of this folder."""
    BUILD.mkdir(exist_ok=True)
    source, program = _HERE / f"{name}.c", BUILD / name
    subprocess.run(
        ["cc", "-std=c11", "-O2", "-Wall", *flags, source, "-o", program], check=True
    )
    return program


def prepare() -> None:
    """Compile floor.c; keep this process and the readers off the load's CPU."""
    compile_c("floor")
    os.sched_setaffinity(0, _CPUS[:-1] or _CPUS)


def run_events(count: int, interval_ns: int = 0) -> int:
    """Make COMM events; return the nanoseconds that each took."""
    return _run_load("events", count, interval_ns)


def run_forks(count: int) -> int:
    """Make processes that exit at once; return the nanoseconds that each took."""
    return _run_load("forks", count)


def run_execs(count: int, interval_ns: int = 0) -> int:
    """Run /bin/true `count` times; return the nanoseconds that each run took."""
    return _run_load("execs", count, interval_ns)


def _run_load(*arguments: object) -> int:
    done = subprocess.run(
        ["taskset", "--cpu-list", str(_LOAD_CPU), FLOOR, *map(str, arguments)],
        stdout=PIPE,
        text=True,
        check=True,
        timeout=_TIMEOUT,
    )
    return int(done.stdout)


class Process:
    """A child process."""

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
        """Return the CPU time of all threads so far: clock_getcpuclockid(3)."""
        return time.clock_gettime_ns((~self.pid << 3) | _CPUCLOCK_SCHED)

    def is_idle(self) -> bool:
        """Return whether it uses less than 1 % of a CPU for 100 ms."""
        before_ns = self.cpu_ns()
        time.sleep(0.1)
        return self.cpu_ns() - before_ns < 1_000_000

    def wait_until_idle(self) -> None:
        """Wait until it has processed all events."""
        _wait_until(self.is_idle)

    def thread_ids(self) -> list[int]:
        """Return the IDs of its threads."""
        return [int(task.name) for task in Path(f"/proc/{self.pid}/task").iterdir()]

    def real_time_threads(self) -> list[int]:
        """Return the IDs of its threads with real-time priority."""
        return [
            thread
            for thread in self.thread_ids()
            if os.sched_getscheduler(thread) & ~os.SCHED_RESET_ON_FORK == os.SCHED_FIFO
        ]

    def schedstat(self, thread: int) -> tuple[int, int]:
        """Return a thread's CPU time in ns, and how often it got a CPU."""
        text = Path(f"/proc/{self.pid}/task/{thread}/schedstat").read_text()
        cpu_ns, _, count = map(int, text.split())
        return cpu_ns, count

    def thread_cpu_ns(self) -> dict[str, int]:
        """Return the CPU time of its threads so far, by their task."""
        times: dict[str, int] = {}
        real_time = self.real_time_threads()
        for thread in self.thread_ids():
            name = "Python"
            if thread in real_time:
                name = "reading programs"
            elif thread != self.pid and os.getpriority(os.PRIO_PROCESS, thread) < 0:
                name = "receiving"
            times[name] = times.get(name, 0) + self.schedstat(thread)[0]
        return times

    def status(self, field: str, thread: int | None = None) -> int:
        """Return a number from /proc/PID/status, or from a thread's."""
        task = "" if thread is None else f"task/{thread}/"
        text = Path(f"/proc/{self.pid}/{task}status").read_text()
        return int(text.partition(f"\n{field}:")[2].split()[0])

    def resident(self) -> int:
        """Return the bytes of resident memory."""
        return self.status("VmRSS") * 1024

    def drops(self) -> int:
        """Return how many events the kernel has dropped for it."""
        return int(self._socket()[8])

    def interrupt(self) -> None:
        """Send SIGINT, as Ctrl-C does."""
        self._popen.send_signal(signal.SIGINT)

    def close(self) -> None:
        """Close its stdin, terminate it if it does not exit, and reap it."""
        assert self._popen.stdin is not None
        self._popen.stdin.close()
        try:
            self._popen.wait(0.5)
        except TimeoutExpired:
            self._popen.terminate()
            try:
                self._popen.wait(_TIMEOUT)
            except TimeoutExpired:
                self._popen.kill()
                raise
        if self._popen.stdout is not None:
            self._popen.stdout.close()
        if self._popen.returncode in (-signal.SIGSEGV, -signal.SIGABRT):
            print(f"{self._popen.args!r} crashed", file=sys.stderr)

    def _socket(self) -> list[str]:
        """Return its row of /proc/net/netlink: the port ID is the PID."""
        ports = {int(row[2]): row for row in _listening()}
        return ports.get(self.pid, [])

    def _read_line(self) -> str:
        assert self._popen.stdout is not None
        if not select.select([self._popen.stdout], [], [], _TIMEOUT)[0]:
            raise TimeoutError(f"no output from {self._popen.args!r}")
        return self._popen.stdout.readline()

    def _write_line(self) -> None:
        assert self._popen.stdin is not None
        self._popen.stdin.write("\n")
        self._popen.stdin.flush()


class Reader(Process):
    """A reader of floor.c or readers.py, subscribed and ready to begin."""

    def __init__(self, arguments: list[object]) -> None:
        super().__init__(arguments)
        if self._read_line() != "ready\n":
            raise RuntimeError(f"{arguments} failed to start")
        self._before_ns = self.cpu_ns()

    def begin(self) -> None:
        """Start reading."""
        self._write_line()

    def finish(self) -> dict[str, Any]:
        """Wait until a reader without a limit has read everything; stop it."""
        self.wait_until_idle()
        self._write_line()
        return self.result()

    def result(self) -> dict[str, Any]:
        """Wait for the reader's result; add the CPU time that it used, in ns."""
        result: dict[str, Any] = json.loads(self._read_line())
        result["cpu_ns"] = self.cpu_ns() - self._before_ns
        return result


class Program(Process):
    """A program that reads from its start until it is interrupted."""

    def __init__(
        self,
        *arguments: object,
        stdout: int | IO[str] = DEVNULL,
        stderr: int | IO[str] | None = None,
        user: str | None = None,
    ) -> None:
        super().__init__([*arguments], stdout, stderr, user)
        _wait_until(lambda: self._socket() != [])
        self.wait_until_idle()
        self._before_ns = self.cpu_ns()
        self._drops_before = self.drops()

    def begin(self) -> None:
        """Do nothing: it reads already."""

    def result(self) -> dict[str, Any]:
        """Wait until it has read everything; return its CPU time and its drops."""
        _wait_until(lambda: self._socket()[4] == "0" and self.is_idle())
        return {
            "cpu_ns": self.cpu_ns() - self._before_ns,
            "lost": self.drops() - self._drops_before,
        }

    def close(self) -> None:
        """Interrupt it, so that it unsubscribes."""
        self.interrupt()
        super().close()


class Command(Program):
    """A procconn command, its output discarded."""

    def __init__(self, *arguments: str) -> None:
        self._stderr = tempfile.TemporaryFile("w+")  # noqa: SIM115 - until `lost`
        super().__init__(*PROCCONN_COMMAND, *arguments, stderr=self._stderr)

    def lost(self) -> int:
        """Wait until it has printed everything, stop it; return its reported loss."""
        self.wait_until_idle()
        self.close()
        with self._stderr as stderr:
            stderr.seek(0)
            lost = re.search(r"(\d+) events were lost", stderr.read())
        return int(lost[1]) if lost else 0


WATCH, FORKSTAT, FORKSTAT_REAL_TIME, EXTRACE = (
    "procconn watch",
    "forkstat",
    "forkstat -r",
    "extrace",
)
_FORKSTAT_LINE = r"^\S+ exec +(\d+) +(.*?) *$"
_PRINTERS: dict[str, tuple[list[str], str]] = {
    WATCH: (
        [*PROCCONN_COMMAND, "watch", "--events", "exec"],
        r"^\S+ exec +(\d+) (?:\? .*|(.*))$",
    ),
    FORKSTAT: (["forkstat", "-e", "exec"], _FORKSTAT_LINE),
    FORKSTAT_REAL_TIME: (["forkstat", "-r", "-e", "exec"], _FORKSTAT_LINE),
    EXTRACE: (["extrace", "-f"], r"^(\d+) (.*)$"),
}
PRINTERS = [name for name, (args, _) in _PRINTERS.items() if shutil.which(args[0])]
"""The installed ones."""

CommandLines = list[tuple[int, str | None]]
"""PIDs and the command lines that a reader reported for them."""


class Report(NamedTuple):
    """The command lines that a reader reported, and the CPU time that it used.

    Attributes:
        unexplained: the number of absent command lines without a reason.
    """

    command_lines: CommandLines
    cpu_ns: int
    unexplained: int = 0


class Printer(Program):
    """A program that prints the command line of each exec."""

    def __init__(self, name: str, user: str | None = None) -> None:
        arguments, self._pattern = _PRINTERS[name]
        self._output = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115 - until `report`
        super().__init__(*arguments, stdout=self._output, stderr=DEVNULL, user=user)

    def report(self) -> Report:
        """Wait until it has printed everything, stop it, and parse its output."""
        cpu_ns = self.result()["cpu_ns"]
        self.close()
        with self._output as output:
            output.seek(0)
            lines = re.findall(self._pattern, output.read(), re.MULTILINE)
        return Report([(int(pid), _unquoted(text)) for pid, text in lines], cpu_ns)


def _unquoted(text: str) -> str | None:
    """Join the arguments by spaces; return None if the printer had none."""
    with suppress(ValueError):  # another process's: ours have balanced quotes
        text = " ".join(shlex.split(text))
    return None if text in ("", "<unknown>") else text


def listeners() -> int:
    """Count the sockets on this machine that receive process events."""
    return len(_listening())


def _listening() -> list[list[str]]:
    """Return the rows of NETLINK_CONNECTOR sockets (11) in the group CN_IDX_PROC."""
    lines = Path("/proc/net/netlink").read_text().splitlines()[1:]
    rows = [line.split() for line in lines]
    return [row for row in rows if row[1] == "11" and int(row[3], 16) & 1]


def _wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _TIMEOUT
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"a reader is still busy after {_TIMEOUT:.0f} s")
        time.sleep(0.005)


def in_c(mode: str, count: int) -> Reader:
    """Start a reader of floor.c."""
    return Reader([FLOOR, mode, count])


def in_python(name: str, *arguments: object, **settings: object) -> Reader:
    """Start a reader of readers.py."""
    named = [f"{setting}={json.dumps(value)}" for setting, value in settings.items()]
    module = "benchmarks.readers"
    return Reader([sys.executable, "-m", module, name, *arguments, *named])


def forkstat(events: str) -> dict[str, Callable[[], Reader | Program]]:
    """Return a start of forkstat that prints such events, if it is installed."""
    if shutil.which("forkstat") is None:
        return {}
    return {FORKSTAT: partial(Program, "forkstat", "-e", events)}
