"""`procconn trace`: runs a command unchanged, and prints its exact process tree."""

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
    """Return the PIDs in a printed tree, or in the subtree of `root`."""
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
def test_exit_status_is_that_of_the_command(command: list[str], status: int) -> None:
    # An unreadable directory in PATH would change the status of a missing command.
    settings = {"env": os.environ | {"PATH": "/usr/bin:/bin"}}

    assert status == trace("--", *command, **settings).returncode


def test_exit_status_is_known_although_sigchld_was_ignored() -> None:
    line = f"trap '' CHLD; exec {shlex.join(TRACE)} sh -c 'exit 3'"

    assert (
        3
        == subprocess.run(
            ["bash", "-c", line], stderr=subprocess.DEVNULL, check=False
        ).returncode
    )


def test_command_inherits_stdin_and_stdout() -> None:
    result = trace("sh", "-c", "cat; echo errors >&2", input="words\n")

    assert "words\n" == result.stdout
    assert result.stderr.startswith("errors\n")


def test_script_without_an_interpreter_line_runs_in_sh(tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text('echo "$1"; exit 3\n')
    script.chmod(0o755)
    result = trace(str(script), "word")

    assert (3, "word\n") == (result.returncode, result.stdout)


def test_duration_excludes_the_time_of_procconn() -> None:
    result = trace("true")

    (line,) = (
        line for line in result.stderr.splitlines() if line.startswith("1 process in ")
    )
    took = re.match(r"1 process in ([\d.]+) (m?s),", line)
    assert took
    assert float(took[1]) * (1000 if took[2] == "s" else 1) < 100


def test_options_after_the_command_belong_to_it() -> None:
    assert "-d 3\n" == trace("echo", "-d", "3").stdout


def test_summary_lists_failed_processes() -> None:
    script = "true & (exit 4); sh -c 'kill -KILL $$'; wait; exit 0"
    result = trace("bash", "-c", script)
    lines = result.stderr.splitlines()
    first, *others = [line for line in lines if not line.startswith("bash: line 1")]
    failed = others[1 : others.index("longest:")]

    assert re.fullmatch(r"4 processes in .*, at most [23] at once, 2 failed", first)
    assert "failed:" == others[0]
    assert 2 == len(failed)
    assert re.search(r"bash -c .* status 4 after ", failed[0])
    assert re.search(r"sh -c 'kill -KILL \$\$' killed by SIGKILL after ", failed[1])
    assert "most frequent programs:" in others


def test_summary_counts_processes_that_still_run() -> None:
    result = trace("sh", "-c", "sleep 0.5 >&- 2>&- & exit 0")

    assert ", none failed, 1 still running\n" in result.stderr


@pytest.mark.skipif(shutil.which("strace") is None, reason="requires strace")
def test_tree_matches_strace(tmp_path: Path) -> None:
    script = (
        "for i in 1 2 3 4 5; do /bin/true; (/bin/false; (sh -c 'exit 1') &) ; done;"
        " python3 -c 'import threading as t, os;"
        ' x = t.Thread(target=lambda: os.system("true")); x.start(); x.join()\'; wait'
    )
    unrelated = subprocess.Popen(
        [sys.executable, "-c", "import os\nwhile True: os.system('true')"]
    )
    strace = ["strace", "-f", "-o", str(tmp_path / "strace"), "-e", "trace=process"]
    try:
        result = trace(
            *("--show-tree", "-o", str(tmp_path / "tree"), "--"),
            *(*strace, "bash", "-c", script),
        )
    finally:
        unrelated.kill()
        unrelated.wait()
    log = (tmp_path / "strace").read_text()
    printed = (tmp_path / "tree").read_text()
    threads = {
        int(pid)
        for flags, pid in re.findall(r"clone3?\(.*?flags=(\S+).*\) = (\d+)", log)
        if "CLONE_THREAD" in flags
    }
    resumed = set(map(int, re.findall(r"CLONE_THREAD.*?=> .*\) = (\d+)", log)))
    traced = {int(line.split()[0]) for line in log.splitlines()} - threads - resumed

    assert 0 == result.returncode
    assert 20 < len(traced)
    assert traced == pids_in(printed, int(log.split()[0]))
    assert "" == result.stderr


def test_signals_are_forwarded_to_the_command() -> None:
    script = "trap 'exit 9' TERM; echo ready; while :; do sleep 0.02; done"
    with watching("sh", "-c", script, command=TRACE) as process:
        assert process.stdout is not None
        assert b"ready\n" == process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        process.wait()

    assert 9 == process.returncode


def test_signal_of_a_terminal_reaches_the_command_once() -> None:
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


def test_sighup_ends_the_command_as_without_trace() -> None:
    with watching("sh", "-c", "echo ready; exec sleep 60", command=TRACE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGHUP)
        process.wait()

    assert 128 + signal.SIGHUP == process.returncode


def test_full_disk_does_not_change_the_status() -> None:
    result = trace("-o", "/dev/full", "sh", "-c", "exit 6")

    assert 6 == result.returncode
    expected = f"procconn: /dev/full is incomplete: {os.strerror(errno.ENOSPC)}\n"
    assert expected == result.stderr


def test_incomplete_timeline_is_reported(tmp_path: Path) -> None:
    (tmp_path / "full.svg").symlink_to("/dev/full")
    result = trace("--timeline", str(tmp_path / "full.svg"), "sh", "-c", "exit 6")

    assert 6 == result.returncode
    assert result.stderr.startswith("1 process in ")
    expected = f"full.svg is incomplete: {os.strerror(errno.ENOSPC)}\n"
    assert result.stderr.endswith(expected)


@pytest.mark.parametrize("suffix", ["svg", "json"])
def test_timeline_is_written(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"run.{suffix}"
    result = trace("--timeline", str(path), "sh", "-c", "/bin/true; sleep 0.01; exit 2")

    assert 2 == result.returncode
    assert "sleep" in path.read_text()


@pytest.mark.parametrize("argument", ["日本", "x" * 500])
def test_timeline_does_not_depend_on_the_locale(argument: str, tmp_path: Path) -> None:
    """The command contains characters that the locale's encoding lacks."""
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    path = tmp_path / "run.svg"
    environ = os.environ | ascii_only
    result = trace("--timeline", str(path), "true", argument, env=environ)

    assert 0 == result.returncode, result.stderr
    assert argument[:300] in path.read_text(encoding="utf-8")


def test_unsupported_timeline_format_is_an_error_before_the_run(
    tmp_path: Path,
) -> None:
    mark = tmp_path / "mark"
    result = trace("--timeline", "run.png", "touch", str(mark))

    assert 2 == result.returncode
    assert "--timeline FILE must end in .json or .svg" in result.stderr
    assert not mark.exists()


PRINT_PEAK_MEMORY = """
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
def test_many_processes_use_little_memory_and_disk_space(
    shape: str, suffix: str, tmp_path: Path
) -> None:
    tree, timeline = tmp_path / "tree", tmp_path / f"timeline.{suffix}"
    options = ("--show-tree", "--usage", "-o", tree, "--timeline", timeline)
    command = (compiled("fork_many"), shape, "20000")
    done = subprocess.run(
        [sys.executable, "-c", PRINT_PEAK_MEMORY, "trace", *options, *command],
        capture_output=True,
        text=True,
        check=False,
    )

    assert 7 == done.returncode
    assert int(done.stdout) < 200 * 1024
    assert "20001 processes in " in tree.read_text()
    assert "… 10001 processes omitted\n" in tree.read_text()
    assert tree.stat().st_size < 4_000_000
    assert timeline.stat().st_size < 20_000_000
