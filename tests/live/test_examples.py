"""Each example does what its docstring says."""

import ast
import json
import os
import pwd
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.blocking import wait_until_blocked
from support.machine import PYTHON

from procconn import Exec, Exit, recording

EXAMPLES = Path(__file__).parents[2] / "examples"

# The thread-group leader ends at once; another thread calls _exit(7) at EOF on stdin.
_EXITS_IN_ANOTHER_THREAD = """
import ctypes, os, threading
threading.Thread(target=lambda: os.read(0, 1) or os._exit(7)).start()
ctypes.CDLL(None).pthread_exit(None)
"""

_RUNS_IN_ANOTHER_THREAD = """
import ctypes, os, threading, time
def run():
    with open("pids", "a") as log:
        print(os.getpid(), file=log)
    time.sleep(60)
threading.Thread(target=run).start()
ctypes.CDLL(None).pthread_exit(None)
"""


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def example(name: str, *arguments: str) -> list[str]:
    return [*PYTHON, str(EXAMPLES / name), *arguments]


def output(name: str, *arguments: str) -> str:
    """Run an example; return its output, decoded as file names are.

    Names of other processes can be any bytes.
    """
    command = example(name, *arguments)
    done = subprocess.run(command, check=True, timeout=30, stdout=subprocess.PIPE)
    return os.fsdecode(done.stdout)


@pytest.fixture
def forker() -> Iterator[None]:
    """Run a process named "forker", which forks all the time."""
    script = "printf forker > /proc/$$/comm; while /bin/true; do :; done"
    with subprocess.Popen(["bash", "-c", script]) as process:
        yield
        process.kill()


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda p: p.name)
def test_examples_are_short(path: Path) -> None:
    assert len(path.read_text().splitlines()) < 60


@pytest.mark.parametrize(
    "path",
    sorted({*EXAMPLES.glob("*.py")} - {EXAMPLES / "json_lines.py"}),
    ids=lambda p: p.name,
)
def test_examples_print_their_docstring_without_arguments(path: Path) -> None:
    command = example(path.name)
    done = subprocess.run(
        command, timeout=30, stderr=subprocess.PIPE, text=True, check=False
    )

    assert 1 == done.returncode
    assert ast.get_docstring(ast.parse(path.read_text()), clean=False) == (
        done.stderr.removesuffix("\n")
    )


@pytest.mark.usefixtures("forker")
def test_count_forks_counts_by_command() -> None:
    counts = {
        name: int(count)
        for count, name in (
            line.split(maxsplit=1)
            for line in output("count_forks.py", "1").splitlines()
        )
    }

    assert counts["forker"] > 1
    assert "events lost" in counts


@pytest.mark.parametrize(
    ("program", "status"),
    [
        ("import os; os.read(0, 1); os._exit(3)", "3"),
        ("import os; os.read(0, 1); os.kill(os.getpid(), 9)", "-9"),
        (_EXITS_IN_ANOTHER_THREAD, "7"),
    ],
)
def test_wait_for_exit_prints_status_of_an_unrelated_process(
    program: str, status: str
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE
    ) as process:
        command = example("wait_for_exit.py", str(process.pid))
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as waiting:
            assert process.stdin is not None
            try:
                wait_until_blocked(waiting.pid)
            finally:
                process.stdin.close()

            assert waiting.communicate(timeout=30)[0] == f"{status}\n"


def test_wait_for_exit_prints_status_of_a_zombie() -> None:
    with subprocess.Popen(["true"]) as zombie:
        os.waitid(os.P_PID, zombie.pid, os.WEXITED | os.WNOWAIT)

        assert output("wait_for_exit.py", str(zombie.pid)) == "0\n"


def test_wait_for_exit_reports_absent_process() -> None:
    command = example("wait_for_exit.py", "999999999")
    done = subprocess.run(
        command, timeout=30, stderr=subprocess.PIPE, text=True, check=False
    )

    assert 1 == done.returncode
    assert done.stderr.startswith("there is no process 999999999")


@pytest.mark.parametrize(
    "service",
    [
        ["sh", "-c", "echo $$ >> pids; exec sleep 60"],
        ["sh", "-c", "setsid sh -c 'echo $$ >> pids; exec sleep 60' &"],
        [sys.executable, "-c", _RUNS_IN_ANOTHER_THREAD],
    ],
    ids=["child", "daemon", "exited leader"],
)
def test_restart_starts_a_killed_service_again(
    service: list[str], tmp_path: Path
) -> None:
    def pids() -> list[int]:
        log = tmp_path / "pids"
        return [int(pid) for pid in log.read_text().split()] if log.exists() else []

    with subprocess.Popen(example("restart.py", *service), cwd=tmp_path) as supervisor:
        try:
            wait_for(lambda: len(pids()) == 1)
            os.kill(pids()[0], signal.SIGKILL)
            wait_for(lambda: len(pids()) == 2)
        finally:
            supervisor.kill()
            os.kill(pids()[-1], signal.SIGKILL)

    assert len(set(pids())) == 2


@pytest.mark.usefixtures("forker")
def test_json_lines_are_json() -> None:
    records: list[dict[str, object]] = []
    with subprocess.Popen(
        example("json_lines.py"), stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        while len(records) < 20:
            record = json.loads(process.stdout.readline())
            records += [record] if record["parent"] == "forker" else []
        process.send_signal(signal.SIGINT)
        process.stdout.read()

    assert 0 == process.returncode
    assert {"/bin/true", None} >= {record["command"] for record in records}
    for record in records:
        assert record["user"] in {pwd.getpwuid(os.geteuid()).pw_name, None}
        assert record["command"] or record["missing"]
        assert isinstance(record["time"], float)
        assert abs(record["time"] - time.time()) < 60


@pytest.mark.skipif(os.geteuid() != 0, reason="taskstats requires root")
def test_expensive_sorts_by_cpu_time(tmp_path: Path) -> None:
    burn = "import time\nwhile time.process_time() < 0.4: pass"
    script = tmp_path / "script"
    script.write_text(f"for i in 1 2 3; do true; done\n{sys.executable} -c '{burn}'\n")
    first, *others = output("expensive.py", "bash", str(script)).splitlines()
    seconds, unit, *_ = first.split()

    assert 0.35 < float(seconds) < 4
    assert unit == "s"
    assert "process_time" in first or sys.executable in first
    assert any("script" in line or "bash" in line for line in others)


@pytest.mark.usefixtures("forker")
def test_json_lines_replace_invalid_utf8() -> None:
    command = None
    with subprocess.Popen(
        example("json_lines.py"), stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()  # the example has subscribed
        while command is None:  # the child may end before its argv is read
            with subprocess.Popen(["true", "\udcff"]) as child:
                child.wait()
            record = {"pid": None}
            while record["pid"] != child.pid:
                record = json.loads(process.stdout.readline())
            command = record["command"]
        process.kill()

    assert "true '\ufffd'" == command


@pytest.mark.usefixtures("forker")
def test_json_lines_exit_with_status_0_if_the_reader_closes_the_pipe() -> None:
    with subprocess.Popen(
        example("json_lines.py"), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        json.loads(process.stdout.readline())
        process.stdout.close()

        assert (process.wait(timeout=30), process.stderr.read()) == (0, b"")


@pytest.mark.usefixtures("forker")
def test_aggregate_counts_by_kind_and_by_status() -> None:
    pytest.importorskip("numpy")
    lines = output("aggregate.py", "1").splitlines()
    counts = {name: int(n) for n, name in (line.split(maxsplit=1) for line in lines)}

    assert sum(n for name, n in counts.items() if name.startswith("FORK ")) > 1
    assert counts["exits with status 0"] > 1
    assert "events lost" in counts


@pytest.mark.usefixtures("forker")
def test_accounting_counts_by_name() -> None:
    lines = [line.split() for line in output("accounting.py", "1").splitlines()]

    assert sum(int(count) for count, *_ in lines) > 1
    assert all(int(failed) <= int(count) for count, failed, *_ in lines)


def test_record_command_records_its_tree_and_passes_the_status(tmp_path: Path) -> None:
    path = tmp_path / "some.pcap"
    done = subprocess.run(
        example(
            "record_command.py", str(path), "sh", "-c", "(exit 3); /bin/true; exit 4"
        ),
        timeout=30,
        check=False,
    )
    with recording.open(path) as events:
        exits = [event.returncode for event in events if isinstance(event, Exit)]

    assert 4 == done.returncode
    assert [3, 0, 4] == exits


def test_recorded_build_is_complete_and_has_programs() -> None:
    with recording.open(EXAMPLES / "build.pcap") as events:
        found = list(events)
        assert not events.damage

    programs = [event.program for event in found if isinstance(event, Exec)]
    exits = [event for event in found if isinstance(event, Exit)]
    assert 76 == len(exits)
    assert 1 == sum(event.returncode != 0 for event in exits)
    assert all(program and program.argv for program in programs)
