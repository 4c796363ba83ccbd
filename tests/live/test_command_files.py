"""Input and output files of the command: how they are opened, and `-`."""

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
STORM = 20_000  # more than a pipe takes
WATCH = ("watch", "--json", "--events", "exec")


@contextmanager
def logging(path: Path, *options: str) -> Iterator["subprocess.Popen[bytes]"]:
    """Watch into a file; the first line is there when the block begins."""
    with watching(*WATCH, *options, "-o", str(path), command=COMMAND) as process:
        write_a_line(path)
        yield process


def write_a_line(path: Path) -> None:
    """Let programs run until one more is in the file."""
    before = path.stat().st_size if path.exists() else 0

    def is_written() -> bool:
        subprocess.run(["true"], check=True)
        return path.exists() and path.stat().st_size > before

    wait_for(is_written)


def end(process: "subprocess.Popen[bytes]") -> int:
    process.send_signal(signal.SIGTERM)
    return process.wait()


def are_lines_whole(*paths: Path) -> bool:
    """Whether all lines are, each a JSON object."""
    lines = [line for path in paths for line in path.read_bytes().splitlines()]
    return {"exec"} == {json.loads(line)["event"] for line in lines}


def test_a_rotation_that_copies_and_truncates_leaves_no_hole(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with logging(log) as process:
        log.write_bytes(b"")
        write_a_line(log)
        status = end(process)

    assert 0 == status
    assert b"\0" not in log.read_bytes()
    assert are_lines_whole(log)


def test_a_hangup_reopens_the_file_by_its_name(tmp_path: Path) -> None:
    log, old = tmp_path / "log", tmp_path / "old"
    with logging(log) as process:
        log.rename(old)
        process.send_signal(signal.SIGHUP)
        wait_for(log.exists)  # also if nothing happens
        write_a_line(log)
        process.send_signal(signal.SIGHUP)
        size = log.stat().st_size
        write_a_line(log)
        status = end(process)

    assert 0 == status
    assert 0o600 == stat.S_IMODE(log.stat().st_mode)
    assert size < log.stat().st_size, "it was emptied"
    assert are_lines_whole(old, log)


@pytest.mark.skipif(not IS_ROOT, reason="takes programs read in time, and no loss")
def test_hangups_at_any_moment_lose_no_line_and_cut_none(tmp_path: Path) -> None:
    log = tmp_path / "log"
    count = 300
    with logging(log, "--name", "^true", "--latency", "0") as process:
        for number in range(count):
            subprocess.run(["true", str(number)], check=True)
            if number % 10 == 0:
                wait_for(log.exists)
                log.rename(tmp_path / f"old{number}")
                process.send_signal(signal.SIGHUP)
        status = end(process)
    lines = [
        json.loads(line)
        for path in tmp_path.iterdir()
        for line in path.read_text().splitlines()
    ]
    printed = [it["argv"][1] for it in lines if len(it["argv"]) > 1]

    assert 0 == status
    assert count - len(printed) <= 5, "a program may be missing on a busy machine"
    assert len({*printed}) == len(printed)


def test_where_it_cannot_be_reopened_it_goes_on_and_says_so(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    with logging(folder / "log") as process:
        folder.rename(tmp_path / "moved")
        process.send_signal(signal.SIGHUP)
        assert process.stderr is not None
        while b"reopened" not in (line := process.stderr.readline()):
            assert line
        write_a_line(tmp_path / "moved/log")
        status = end(process)

    absent = os.strerror(errno.ENOENT)
    expected = f"procconn: {folder / 'log'}: cannot be reopened: {absent}"
    assert line.decode().startswith(expected)
    assert 0 == status


@pytest.mark.parametrize(
    "output", [(), ("-o", "-")], ids=["without --output", "standard output"]
)
def test_a_hangup_ends_what_has_no_file(output: tuple[str, ...]) -> None:
    with watching(*WATCH, *output, command=COMMAND) as process:
        wait_until_printing(process)
        process.send_signal(signal.SIGHUP)
        assert process.stdout is not None
        process.stdout.read()

    assert 128 + signal.SIGHUP == process.returncode


def test_a_terminal_that_is_closed_ends_it_all_the_same(tmp_path: Path) -> None:
    log = tmp_path / "log"
    command = [*COMMAND, *WATCH, "-o", str(log)]
    with TerminalCommand(command) as terminal:
        write_a_line(log)
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
def test_each_file_is_private_and_no_link_of_others_is_followed(
    arguments: tuple[str, ...], tmp_path: Path
) -> None:
    shared, kept = tmp_path / "shared", tmp_path / "kept"
    shared.mkdir()
    shared.chmod(0o777)
    kept.write_text("kept")
    words = [it.replace("FILE", str(shared / "file")) for it in arguments]
    (path,) = (Path(it) for it in words if it.startswith(str(shared)))

    path.symlink_to(kept)
    refused = run(*words)
    path.unlink()
    run(*words)

    assert 2 == refused.returncode
    assert f"procconn: {path}: {path.name!r} is a symbolic link in" in refused.stderr
    assert "kept" == kept.read_text()
    assert 0o600 == stat.S_IMODE(path.stat().st_mode)


def test_nothing_is_emptied_where_what_is_awaited_is_not_there(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.write_text("kept")

    assert 127 == run("wait", 4194304, "-o", kept).returncode
    assert "kept" == kept.read_text()


# Standard input and output


def test_a_recording_comes_and_goes_by_standard_streams() -> None:
    line = " ".join(map(shlex.quote, COMMAND))
    script = f"{line} record -c 2 -e exec - | {line} watch -i - --json -e exec,comm"
    with subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE) as process:
        while process.poll() is None:
            subprocess.run(["true"], check=True)
        assert process.stdout is not None
        printed = process.stdout.read().splitlines()

    assert 0 == process.returncode
    assert ["exec", "exec"] == [json.loads(it)["event"] for it in printed]


@pytest.mark.parametrize("subcommand", ["watch", "stat"])
def test_a_recording_is_read_from_standard_input(subcommand: str) -> None:
    with BUILD.open("rb") as file:
        read = run(subcommand, "-i", "-", stdin=file)

    assert run(subcommand, "-i", BUILD).stdout == read.stdout
    assert read.stdout


def test_no_file_is_named_after_standard_output(tmp_path: Path) -> None:
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


def test_what_comes_by_standard_input_is_not_overwritten(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    shutil.copy(BUILD, kept)
    with kept.open("rb") as file:
        result = run("watch", "-i", "-", "-o", kept, stdin=file)

    assert 2 == result.returncode
    assert "is what is read" in result.stderr
    assert BUILD.read_bytes() == kept.read_bytes()


@requires_capacity(STORM)
def test_a_standard_output_that_does_not_block_gets_a_whole_recording() -> None:
    ends = os.pipe()
    os.set_blocking(ends[1], False)
    with (
        open(ends[0], "rb", buffering=0) as reading,
        watching("record", "-", command=COMMAND, stdout=ends[1]) as recorder,
    ):
        os.close(ends[1])
        header = reading.read(24)  # so it has begun
        storm = subprocess.Popen([sys.executable, "-c", RENAME, str(STORM)])
        storm.wait()
        recorder.send_signal(signal.SIGTERM)
        events = recording.open(io.BytesIO(header + reading.readall()))
        renamed = sum(isinstance(it, Comm) and it.pid == storm.pid for it in events)

    assert (0, STORM) == (recorder.returncode, renamed)


# Standard streams that are closed

NAMES = "0<&-", "1>&-", "2>&-"


def closed(number: int, *arguments: str, cwd: Path) -> tuple[int, bytes, bytes]:
    """Run it with a standard stream closed; give its status and what it wrote."""
    line = " ".join(map(shlex.quote, [*COMMAND, *arguments]))
    done = subprocess.run(
        ["sh", "-c", f"exec {line} {NAMES[number]}"],
        capture_output=True,
        check=False,
        cwd=cwd,
    )
    return done.returncode, done.stdout, done.stderr


WITHOUT_OUTPUT = {
    "watch": ("watch", "-d", "0"),
    "stat": ("stat", "-d", "0"),
    "wait": ("wait", "--timeout", "0", "1"),
    "record": ("record", "-d", "0", "-"),
    "doctor": ("doctor",),
    "trace": ("trace", "-o", "-", "true"),
}


@pytest.mark.parametrize("name", WITHOUT_OUTPUT)
def test_what_takes_a_closed_standard_output_says_so(name: str, tmp_path: Path) -> None:
    status, _, errors = closed(1, *WITHOUT_OUTPUT[name], cwd=tmp_path)

    assert 2 == status
    assert b"procconn: standard output is closed; redirect it to" in errors
    assert b"Traceback" not in errors


WITH_FILES = {
    "watch": (0, ("watch", "-d", "0", "-o", "file")),
    "recorded": (0, ("watch", "-i", str(BUILD), "-o", "file")),
    "stat": (0, ("stat", "-d", "0", "-o", "file")),
    "wait": (124, ("wait", "--timeout", "0", "1", "-o", "file")),
    "record": (0, ("record", "-d", "0", "file")),
    "trace": (3, ("trace", "--timeline", "file.svg", "-o", "file", "sh", "-c")),
}


@pytest.mark.parametrize(
    ("name", "number"),
    [(name, 1) for name in WITH_FILES] + [("trace", 0), ("trace", 2), ("watch", 2)],
)
def test_a_file_never_becomes_a_standard_stream_that_is_closed(
    name: str, number: int, tmp_path: Path
) -> None:
    """The command that is run would write there, or a message."""
    expected, words = WITH_FILES[name]
    more = ("echo output; echo errors >&2; cat; exit 3",) if name == "trace" else ()
    status, output, _ = closed(number, *words, *more, cwd=tmp_path)
    texts = [it.read_bytes() for it in tmp_path.iterdir()]

    assert expected == status
    assert not [it for it in texts if b"output\n" in it or b"errors\n" in it]
    assert not [it for it in texts if b"procconn: " in it]
    if name == "trace" and number != 1:
        assert b"output\n" == output


def test_nothing_takes_the_places_of_standard_streams_that_are_closed(
    tmp_path: Path,
) -> None:
    log = tmp_path / "log"
    line = " ".join(map(shlex.quote, [*COMMAND, *WATCH, "-o", str(log)]))
    closed = ["sh", "-c", f"exec {line} {' '.join(NAMES)}"]
    with watching(command=closed) as process:
        write_a_line(log)
        folder = f"/proc/{process.pid}/fd"
        opened = {number: os.readlink(f"{folder}/{number}") for number in "012"}
        status = end(process)

    assert (0, {"/"}) == (status, {*opened.values()})


def test_what_is_run_finds_closed_what_was_closed() -> None:
    command = [*TRACE, "sh", "-c", "readlink /proc/self/fd/1 >&2; exit 5"]
    line = " ".join(map(shlex.quote, command))
    done = subprocess.run(
        ["sh", "-c", f"exec {line} >&-"], stderr=subprocess.PIPE, check=False
    )

    assert 5 == done.returncode
    assert b"/\n" not in done.stderr


def test_standard_input_that_is_closed_is_an_error_where_it_is_read(
    tmp_path: Path,
) -> None:
    status, _, errors = closed(0, "watch", "-i", "-", cwd=tmp_path)

    assert 2 == status
    assert b"procconn: standard input is closed; redirect it from a file\n" == errors
