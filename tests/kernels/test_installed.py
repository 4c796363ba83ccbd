"""The command as a guest has it, and recordings of the host's processor."""

import subprocess
from pathlib import Path

from support.command import finish, run, watching

from kernels.recordings import check, make

RECORDINGS = Path(__file__).parent / "recordings"  # which the host puts and takes


def test_doctor_finds_nothing_wrong() -> None:
    done = run("doctor")

    assert (0, "") == (done.returncode, done.stderr), done.stdout
    assert "subscription" in done.stdout


def test_watch_prints_as_many_lines_as_asked_for() -> None:
    with watching("--count", "5") as process:
        while process.poll() is None:
            subprocess.run(["true"], check=True)
        output, errors = finish(process)

    assert (0, b"") == (process.returncode, errors)
    assert 5 == len(output.splitlines())


def test_trace_prints_the_tree_of_what_ran() -> None:
    done = run("trace", "--show-tree", "--", "sh", "-c", "/bin/true; exit 3")

    assert 3 == done.returncode
    assert "/bin/true" in done.stderr


def test_a_recording_of_the_host_is_read_as_there() -> None:
    assert [] == check(RECORDINGS, "host")


def test_a_recording_for_the_host_is_read_as_it_was_received() -> None:
    make(RECORDINGS, "guest")

    assert [] == check(RECORDINGS, "guest")
