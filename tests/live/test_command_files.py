"""Input and output files of the command, rotation, and standard streams (`-`)."""

import errno
import io
import json
import os
import shlex
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.command import (
    COMMAND,
    RENAME,
    TRACE,
    TerminalCommand,
    run,
    wait_until_printing,
    watching,
)
from support.live import wait_for
from support.machine import IS_ROOT, requires_capacity

from procconn import Comm, recording

BUILD = Path(__file__).parents[2] / "examples/build.pcap"
BURST = 20_000  # events; more than fit in a pipe
WATCH = ("watch", "--json", "--events", "exec")


@contextmanager
def watching_to_file(path: Path, *options: str) -> Iterator["subprocess.Popen[bytes]"]:
    """Run `watch -o path`, and wait until it has written its first line."""
    with watching(*WATCH, *options, "-o", str(path), command=COMMAND) as process:
        wait_for_line(path)
        yield process


def wait_for_line(path: Path) -> None:
    """Run programs until the file grows."""
    before = path.stat().st_size if path.exists() else 0

    def is_written() -> bool:
        subprocess.run(["true"], check=True)
        return path.exists() and path.stat().st_size > before

    wait_for(is_written)


def terminate(process: "subprocess.Popen[bytes]") -> int:
    process.send_signal(signal.SIGTERM)
    return process.wait()


def are_lines_complete(*paths: Path) -> bool:
    """Return whether each line is a complete JSON object."""
    lines = [line for path in paths for line in path.read_bytes().splitlines()]
    return {"exec"} == {json.loads(line)["event"] for line in lines}


def test_copytruncate_rotation_leaves_no_hole(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with watching_to_file(log) as process:
        log.write_bytes(b"")
        wait_for_line(log)
        status = terminate(process)

    assert 0 == status
    assert b"\0" not in log.read_bytes()
    assert are_lines_complete(log)


def test_sighup_reopens_the_output_file(tmp_path: Path) -> None:
    log, old = tmp_path / "log", tmp_path / "old"
    with watching_to_file(log) as process:
        log.rename(old)
        process.send_signal(signal.SIGHUP)
        wait_for(log.exists)  # even without events
        wait_for_line(log)
        process.send_signal(signal.SIGHUP)
        size = log.stat().st_size
        wait_for_line(log)
        status = terminate(process)

    assert 0 == status
    assert 0o600 == stat.S_IMODE(log.stat().st_mode)
    assert size < log.stat().st_size, "the file was truncated"
    assert are_lines_complete(old, log)


@pytest.mark.skipif(
    not IS_ROOT, reason="programs are read in time, and without loss, only by root"
)
def test_sighups_at_any_time_lose_and_truncate_no_line(tmp_path: Path) -> None:
    log = tmp_path / "log"
    count = 300
    with watching_to_file(log, "--name", "^true", "--latency", "0") as process:
        for number in range(count):
            subprocess.run(["true", str(number)], check=True)
            if number % 10 == 0:
                wait_for(log.exists)
                log.rename(tmp_path / f"old{number}")
                process.send_signal(signal.SIGHUP)
        status = terminate(process)
    lines = [
        json.loads(line)
        for path in tmp_path.iterdir()
        for line in path.read_text().splitlines()
    ]
    printed = [line["argv"][1] for line in lines if len(line["argv"]) > 1]

    assert 0 == status
    assert count - len(printed) <= 5, (
        "more lines are missing than a busy machine explains"
    )
    assert len({*printed}) == len(printed)


def test_failed_reopen_is_reported_and_keeps_the_old_file(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    with watching_to_file(folder / "log") as process:
        folder.rename(tmp_path / "moved")
        process.send_signal(signal.SIGHUP)
        assert process.stderr is not None
        while b"reopened" not in (line := process.stderr.readline()):
            assert line
        wait_for_line(tmp_path / "moved/log")
        status = terminate(process)

    absent = os.strerror(errno.ENOENT)
    expected = f"procconn: {folder / 'log'}: cannot be reopened: {absent}"
    assert line.decode().startswith(expected)
    assert 0 == status


@pytest.mark.parametrize(
    "output", [(), ("-o", "-")], ids=["without --output", "standard output"]
)
def test_sighup_ends_command_without_output_file(output: tuple[str, ...]) -> None:
    with watching(*WATCH, *output, command=COMMAND) as process:
        wait_until_printing(process)
        process.send_signal(signal.SIGHUP)
        assert process.stdout is not None
        process.stdout.read()

    assert 128 + signal.SIGHUP == process.returncode


def test_sighup_on_a_terminal_ends_command_despite_output_file(tmp_path: Path) -> None:
    log = tmp_path / "log"
    command = [*COMMAND, *WATCH, "-o", str(log)]
    with TerminalCommand(command) as terminal:
        wait_for_line(log)
        terminal.signal(signal.SIGHUP)
        status = terminal.wait()

    assert 128 + signal.SIGHUP == status


@pytest.mark.parametrize(
    "arguments",
    [
        ("watch", "-d", "0", "-o", "FILE"),
        ("watch", "-i", str(BUILD), "-o", "FILE"),
        ("stat", "-d", "0", "-o", "FILE"),
        ("wait", "--timeout", "0", "1", "-o", "FILE"),
        ("record", "-d", "0", "FILE"),
        ("trace", "-o", "FILE", "true"),
        ("trace", "--timeline", "FILE.svg", "true"),
        ("trace", "--timeline", "FILE.json", "true"),
    ],
    ids=" ".join,
)
def test_output_files_are_private_and_untrusted_symlinks_refused(
    arguments: tuple[str, ...], tmp_path: Path
) -> None:
    shared, kept = tmp_path / "shared", tmp_path / "kept"
    shared.mkdir()
    shared.chmod(0o777)
    kept.write_text("kept")
    words = [word.replace("FILE", str(shared / "file")) for word in arguments]
    (path,) = (Path(word) for word in words if word.startswith(str(shared)))

    path.symlink_to(kept)
    refused = run(*words)
    path.unlink()
    run(*words)

    assert 2 == refused.returncode
    assert f"procconn: {path}: {path.name!r} is a symbolic link in" in refused.stderr
    assert "kept" == kept.read_text()
    assert 0o600 == stat.S_IMODE(path.stat().st_mode)


def test_wait_for_absent_pid_does_not_truncate_the_output_file(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.write_text("kept")

    assert 127 == run("wait", 4194304, "-o", kept).returncode
    assert "kept" == kept.read_text()


# Standard input and output


def test_recording_is_piped_from_record_to_watch() -> None:
    line = " ".join(map(shlex.quote, COMMAND))
    script = f"{line} record -c 2 -e exec - | {line} watch -i - --json -e exec,comm"
    with subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE) as process:
        while process.poll() is None:
            subprocess.run(["true"], check=True)
        assert process.stdout is not None
        printed = process.stdout.read().splitlines()

    assert 0 == process.returncode
    assert ["exec", "exec"] == [json.loads(line)["event"] for line in printed]


@pytest.mark.parametrize("subcommand", ["watch", "stat"])
def test_recording_is_read_from_standard_input(subcommand: str) -> None:
    with BUILD.open("rb") as file:
        read = run(subcommand, "-i", "-", stdin=file)

    assert run(subcommand, "-i", BUILD).stdout == read.stdout
    assert read.stdout


def test_dash_writes_to_standard_output(tmp_path: Path) -> None:
    settings = {"cwd": tmp_path}
    printed = run("watch", "-i", BUILD, "-o", "-", **settings).stdout
    recorded = run("record", "-d", "0", "-", encoding="latin-1", **settings)
    summary = run("trace", "-o", "-", "sh", "-c", "exit 3", **settings)
    picture = run("trace", "--timeline", "-", "sh", "-c", "exit 3", **settings)

    assert run("watch", "-i", BUILD).stdout == printed
    assert recorded.stdout.startswith("M<\xb2\xa1" * (sys.byteorder == "little"))
    assert (3, "") == (summary.returncode, summary.stderr)
    assert summary.stdout.startswith("1 process in ")
    assert 3 == picture.returncode
    assert picture.stdout.startswith("<svg ")
    assert not any(tmp_path.iterdir())


def test_input_file_on_standard_input_is_not_overwritten(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    shutil.copy(BUILD, kept)
    with kept.open("rb") as file:
        result = run("watch", "-i", "-", "-o", kept, stdin=file)

    assert 2 == result.returncode
    assert "is also the input" in result.stderr
    assert BUILD.read_bytes() == kept.read_bytes()


@requires_capacity(BURST)
def test_nonblocking_standard_output_gets_the_complete_recording() -> None:
    ends = os.pipe()
    os.set_blocking(ends[1], False)
    with (
        open(ends[0], "rb", buffering=0) as reading,
        watching("record", "-", command=COMMAND, stdout=ends[1]) as recorder,
    ):
        os.close(ends[1])
        header = reading.read(24)  # the recorder has subscribed
        burst = subprocess.Popen([sys.executable, "-c", RENAME, str(BURST)])
        burst.wait()
        recorder.send_signal(signal.SIGTERM)
        events = recording.open(io.BytesIO(header + reading.readall()))
        renamed = sum(isinstance(e, Comm) and e.pid == burst.pid for e in events)

    assert (0, BURST) == (recorder.returncode, renamed)


# Closed standard streams

REDIRECTIONS = "0<&-", "1>&-", "2>&-"


def run_with_closed_stream(
    number: int, *arguments: str, cwd: Path
) -> tuple[int, bytes, bytes]:
    """Run the command with a standard stream closed; return status, stdout, stderr."""
    line = " ".join(map(shlex.quote, [*COMMAND, *arguments]))
    done = subprocess.run(
        ["sh", "-c", f"exec {line} {REDIRECTIONS[number]}"],
        capture_output=True,
        check=False,
        cwd=cwd,
    )
    return done.returncode, done.stdout, done.stderr


TO_STANDARD_OUTPUT = {
    "watch": ("watch", "-d", "0"),
    "stat": ("stat", "-d", "0"),
    "wait": ("wait", "--timeout", "0", "1"),
    "record": ("record", "-d", "0", "-"),
    "doctor": ("doctor",),
    "trace": ("trace", "-o", "-", "true"),
}


@pytest.mark.parametrize("name", TO_STANDARD_OUTPUT)
def test_closed_standard_output_is_an_error(name: str, tmp_path: Path) -> None:
    status, _, errors = run_with_closed_stream(
        1, *TO_STANDARD_OUTPUT[name], cwd=tmp_path
    )

    assert 2 == status
    assert b"procconn: standard output is closed; redirect it to" in errors
    assert b"Traceback" not in errors


TO_FILES = {
    "watch": (0, ("watch", "-d", "0", "-o", "file")),
    "recorded": (0, ("watch", "-i", str(BUILD), "-o", "file")),
    "stat": (0, ("stat", "-d", "0", "-o", "file")),
    "wait": (124, ("wait", "--timeout", "0", "1", "-o", "file")),
    "record": (0, ("record", "-d", "0", "file")),
    "trace": (3, ("trace", "--timeline", "file.svg", "-o", "file", "sh", "-c")),
}


@pytest.mark.parametrize(
    ("name", "number"),
    [(name, 1) for name in TO_FILES] + [("trace", 0), ("trace", 2), ("watch", 2)],
)
def test_output_file_does_not_get_the_descriptor_of_a_closed_standard_stream(
    name: str, number: int, tmp_path: Path
) -> None:
    """Otherwise messages, or output of the traced command, would end up in the file."""
    expected, words = TO_FILES[name]
    more = ("echo output; echo errors >&2; cat; exit 3",) if name == "trace" else ()
    status, output, _ = run_with_closed_stream(number, *words, *more, cwd=tmp_path)
    texts = [path.read_bytes() for path in tmp_path.iterdir()]

    assert expected == status
    assert not [text for text in texts if b"output\n" in text or b"errors\n" in text]
    assert not [text for text in texts if b"procconn: " in text]
    if name == "trace" and number != 1:
        assert b"output\n" == output


def test_closed_standard_streams_are_reserved(tmp_path: Path) -> None:
    """Descriptors 0 to 2 refer to the root directory, so that no file gets them."""
    log = tmp_path / "log"
    line = " ".join(map(shlex.quote, [*COMMAND, *WATCH, "-o", str(log)]))
    closed = ["sh", "-c", f"exec {line} {' '.join(REDIRECTIONS)}"]
    with watching(command=closed) as process:
        wait_for_line(log)
        folder = f"/proc/{process.pid}/fd"
        targets = {os.readlink(f"{folder}/{number}") for number in "012"}
        status = terminate(process)

    assert (0, {"/"}) == (status, targets)


def test_closed_standard_stream_stays_closed_in_the_traced_command() -> None:
    command = [*TRACE, "sh", "-c", "readlink /proc/self/fd/1 >&2; exit 5"]
    line = " ".join(map(shlex.quote, command))
    done = subprocess.run(
        ["sh", "-c", f"exec {line} >&-"], stderr=subprocess.PIPE, check=False
    )

    assert 5 == done.returncode
    assert b"/\n" not in done.stderr


def test_closed_standard_input_is_an_error_if_read(tmp_path: Path) -> None:
    status, _, errors = run_with_closed_stream(0, "watch", "-i", "-", cwd=tmp_path)

    assert 2 == status
    assert b"procconn: standard input is closed; redirect it from a file\n" == errors
