"""The installed command, and recordings exchanged with the host."""

import subprocess
from pathlib import Path

from support.command import finish, run, watching

from kernels.recordings import check, make

RECORDINGS = Path(__file__).parent / "recordings"  # exchanged with the host


def test_doctor_reports_no_problem() -> None:
    done = run("doctor")

    assert (0, "") == (done.returncode, done.stderr), done.stdout
    assert "subscription" in done.stdout


def test_watch_count_limits_the_lines() -> None:
    with watching("--count", "5") as process:
        while process.poll() is None:
            subprocess.run(["true"], check=True)
        output, errors = finish(process)

    assert (0, b"") == (process.returncode, errors)
    assert 5 == len(output.splitlines())


def test_trace_prints_the_process_tree() -> None:
    done = run("trace", "--show-tree", "--", "sh", "-c", "/bin/true; exit 3")

    assert 3 == done.returncode
    assert "/bin/true" in done.stderr


def test_recording_made_on_the_host_decodes_identically_here() -> None:
    assert [] == check(RECORDINGS, "host")


def test_recording_made_here_decodes_to_the_recorded_events() -> None:
    make(RECORDINGS, "guest")

    assert [] == check(RECORDINGS, "guest")
