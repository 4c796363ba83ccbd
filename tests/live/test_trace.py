"""`procconn trace`: the command runs undisturbed, and its tree is printed exactly."""

import errno
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.c_programs import compiled
from support.command import TRACE, TerminalCommand, run, watching


def trace(*arguments: str, **settings: Any) -> subprocess.CompletedProcess[str]:
    return run("trace", *arguments, **settings)


def pids_in(tree: str, root: int | None = None) -> set[int]:
    """Take the pids out of a tree, or out of a part of it."""
    pids: set[int] = set()
    depth = None
    for line in tree.splitlines():
        if match := re.match(r"([│├└─ ]*)(\d+) ", line):
            if root is None or int(match[2]) == root:
                depth = len(match[1]) if depth is None else depth
                pids.add(int(match[2]))
            elif depth is not None and len(match[1]) > depth:
                pids.add(int(match[2]))
            elif pids:
                break
        elif pids:
            break
    return pids


@pytest.mark.parametrize(
    ("command", "status"),
    [
        (["true"], 0),
        (["sh", "-c", "exit 3"], 3),
        (["sh", "-c", "kill -TERM $$"], 128 + signal.SIGTERM),
        (["no such command"], 127),
        (["/dev/null"], 126),
        ([""], 127),
    ],
)
def test_the_exit_status_is_the_commands(command: list[str], status: int) -> None:
    # where nothing is that may not be read, which would also be a reason
    settings = {"env": os.environ | {"PATH": "/usr/bin:/bin"}}

    assert status == trace("--", *command, **settings).returncode


def test_it_has_a_status_also_where_ends_of_children_were_to_be_ignored() -> None:
    line = f"trap '' CHLD; exec {shlex.join(TRACE)} sh -c 'exit 3'"

    assert 3 == subprocess.run(["bash", "-c", line], stderr=-3, check=False).returncode


def test_input_and_output_are_the_commands() -> None:
    result = trace("sh", "-c", "cat; echo errors >&2", input="words\n")

    assert "words\n" == result.stdout
    assert result.stderr.startswith("errors\n")


def test_a_script_without_an_interpreter_is_the_shells(tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text('echo "$1"; exit 3\n')
    script.chmod(0o755)
    result = trace(str(script), "word")

    assert (3, "word\n") == (result.returncode, result.stdout)


def test_the_time_is_that_of_the_command() -> None:
    result = trace("true")

    (line,) = (
        it for it in result.stderr.splitlines() if it.startswith("1 process in ")
    )
    took = re.match(r"1 process in ([\d.]+) (m?s),", line)
    assert took
    assert float(took[1]) * (1000 if took[2] == "s" else 1) < 100, "not that of ours"


def test_options_of_the_command_are_its_own() -> None:
    assert "-d 3\n" == trace("echo", "-d", "3").stdout


def test_the_summary_tells_how_many_failed_and_which() -> None:
    script = "true & (exit 4); sh -c 'kill -KILL $$'; wait; exit 0"
    result = trace("bash", "-c", script)
    lines = result.stderr.splitlines()
    first, *rest = [line for line in lines if not line.startswith("bash: line 1")]
    failed = rest[1 : rest.index("longest:")]

    assert re.fullmatch(r"4 processes in .*, at most [23] at once, 2 failed", first)
    assert "failed:" == rest[0]
    assert 2 == len(failed)
    assert re.search(r"bash -c .* status 4 after ", failed[0])
    assert re.search(r"sh -c 'kill -KILL \$\$' killed by SIGKILL after ", failed[1])
    assert "most frequent programs:" in rest


def test_what_still_runs_at_the_commands_end_is_told() -> None:
    result = trace("sh", "-c", "sleep 0.5 >&- 2>&- & exit 0")

    assert ", none failed, 1 still running\n" in result.stderr


@pytest.mark.skipif(shutil.which("strace") is None, reason="requires strace")
def test_the_tree_is_what_strace_sees_and_no_other(tmp_path: Path) -> None:
    script = (
        "for i in 1 2 3 4 5; do /bin/true; (/bin/false; (sh -c 'exit 1') &) ; done;"
        " python3 -c 'import threading as t, os;"
        ' x = t.Thread(target=lambda: os.system("true")); x.start(); x.join()\'; wait'
    )
    noise = subprocess.Popen(
        [sys.executable, "-c", "import os\nwhile True: os.system('true')"]
    )
    strace = ["strace", "-f", "-o", str(tmp_path / "strace"), "-e", "trace=process"]
    try:
        result = trace(
            *("--show-tree", "-o", str(tmp_path / "tree"), "--"),
            *(*strace, "bash", "-c", script),
        )
    finally:
        noise.kill()
        noise.wait()
    log = (tmp_path / "strace").read_text()
    printed = (tmp_path / "tree").read_text()
    threads = {
        int(pid)
        for flags, pid in re.findall(r"clone3?\(.*?flags=(\S+).*\) = (\d+)", log)
        if "CLONE_THREAD" in flags
    }
    resumed = set(map(int, re.findall(r"CLONE_THREAD.*?=> .*\) = (\d+)", log)))
    seen = {int(line.split()[0]) for line in log.splitlines()} - threads - resumed

    assert 0 == result.returncode
    assert 20 < len(seen)
    assert seen == pids_in(printed, int(log.split()[0]))
    assert "" == result.stderr


def test_signals_are_passed_on() -> None:
    script = "trap 'exit 9' TERM; echo ready; while :; do sleep 0.02; done"
    with watching("sh", "-c", script, command=TRACE) as process:
        assert process.stdout is not None
        assert b"ready\n" == process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        process.wait()

    assert 9 == process.returncode


def test_what_a_terminal_sends_comes_once() -> None:
    code = (
        "import signal, sys, time\n"
        "count = 0\n"
        "def add(*_):\n"
        "    global count\n"
        "    count += 1\n"
        "signal.signal(signal.SIGINT, add)\n"
        "print('ready', flush=True)\n"
        "while not count: time.sleep(0.01)\n"
        "time.sleep(0.3)\n"
        "print('got', count)\n"
        "sys.exit(5)"
    )
    with TerminalCommand([*TRACE, sys.executable, "-c", code]) as terminal:
        output = b""
        while b"ready" not in output:
            more = terminal.read_output()
            assert more, output
            output += more
        terminal.press(b"\x03")
        while more := terminal.read_output():
            output += more
        status = terminal.wait()

    assert 5 == status
    assert b"got 1\r" in output
    assert b"most frequent programs:" in output


def test_a_closed_terminal_ends_the_command_as_by_itself() -> None:
    with watching("sh", "-c", "echo ready; exec sleep 60", command=TRACE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGHUP)
        process.wait()

    assert 128 + signal.SIGHUP == process.returncode


def test_a_full_disk_does_not_change_the_status() -> None:
    result = trace("-o", "/dev/full", "sh", "-c", "exit 6")

    assert 6 == result.returncode
    expected = f"procconn: /dev/full is incomplete: {os.strerror(errno.ENOSPC)}\n"
    assert expected == result.stderr


def test_a_full_disk_of_the_timeline_is_told_as_such(tmp_path: Path) -> None:
    (tmp_path / "full.svg").symlink_to("/dev/full")
    result = trace("--timeline", str(tmp_path / "full.svg"), "sh", "-c", "exit 6")

    assert 6 == result.returncode
    assert result.stderr.startswith("1 process in ")
    expected = f"full.svg is incomplete: {os.strerror(errno.ENOSPC)}\n"
    assert result.stderr.endswith(expected)


@pytest.mark.parametrize("suffix", ["svg", "json"])
def test_a_timeline_is_drawn(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"run.{suffix}"
    result = trace("--timeline", str(path), "sh", "-c", "/bin/true; sleep 0.01; exit 2")

    assert 2 == result.returncode
    assert "sleep" in path.read_text()


def test_what_cannot_be_drawn_is_told_before_anything_runs(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    result = trace("--timeline", "run.png", "touch", str(mark))

    assert 2 == result.returncode
    assert "--timeline takes a file that ends in .json or .svg" in result.stderr
    assert not mark.exists()


PEAK = """
import re, sys
from pathlib import Path
from procconn.cli import main

status = main(sys.argv[1:])
print(re.search(r"VmHWM:\\s*(\\d+) kB", Path("/proc/self/status").read_text())[1])
sys.exit(status)
"""


@pytest.mark.slow
@pytest.mark.heavy
@pytest.mark.parametrize("shape", ["chain", "siblings"])
@pytest.mark.parametrize("suffix", ["svg", "json"])
def test_many_processes_take_neither_memory_nor_room(
    shape: str, suffix: str, tmp_path: Path
) -> None:
    tree, picture = tmp_path / "tree", tmp_path / f"picture.{suffix}"
    options = ("--show-tree", "--usage", "-o", tree, "--timeline", picture)
    command = (compiled("fork_many"), shape, "20000")
    done = subprocess.run(
        [sys.executable, "-c", PEAK, "trace", *options, *command],
        capture_output=True,
        text=True,
        check=False,
    )

    assert 7 == done.returncode
    assert int(done.stdout) < 200 * 1024
    assert "20001 processes in " in tree.read_text()
    assert "… 10001 processes are left out here\n" in tree.read_text()
    assert tree.stat().st_size < 4_000_000
    assert picture.stat().st_size < 20_000_000
