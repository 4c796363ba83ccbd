"""Signals end the command and its subscription."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.command import (
    TIMEOUT,
    WATCH,
    finish,
    unexpected_errors,
    wait_until_printing,
    watching,
)
from support.strace import subscription_balance, traced_command


def test_ignored_sighup_stays_ignored() -> None:
    """As under nohup(1)."""
    with watching("--events", "exec", command=["nohup", *WATCH]) as watch:
        wait_until_printing(watch)
        watch.send_signal(signal.SIGHUP)
        subprocess.run(["true"], check=True)
        wait_until_printing(watch)
        watch.send_signal(signal.SIGTERM)
        finish(watch)

    assert 0 == watch.returncode


STATUSES = {
    signal.SIGINT: 0,
    signal.SIGTERM: 0,
    signal.SIGHUP: 129,  # 128 + signal number, as in shells
    signal.SIGQUIT: 131,
    signal.SIGUSR1: 138,
    signal.SIGUSR2: 140,
}


@pytest.mark.parametrize("number", STATUSES, ids=lambda number: number.name)
def test_signal_ends_command_and_subscription_without_message(
    number: signal.Signals, tmp_path: Path
) -> None:
    with traced_command(tmp_path / "trace", "--events", "exec") as watch:
        wait_until_printing(watch)
        assert 1 == subscription_balance(tmp_path / "trace")
        watch.send_signal(number)
        assert watch.stderr is not None
        assert b"" == unexpected_errors(watch.stderr.read())

    assert (STATUSES[number], 0) == (
        watch.returncode,
        subscription_balance(tmp_path / "trace"),
    )


@pytest.mark.parametrize("delay", [0, 5, 15, 40], ids=str)
def test_repeated_signal_has_no_further_effect(delay: int, tmp_path: Path) -> None:
    with traced_command(tmp_path / "trace") as watch:
        wait_until_printing(watch)
        for _ in range(3):
            watch.send_signal(signal.SIGTERM)
            time.sleep(delay / 1000)

    assert (0, 0) == (watch.returncode, subscription_balance(tmp_path / "trace"))


SHORT_RUN = ("--events", "exec", "--duration", "0")


@pytest.fixture(scope="module")
def duration(tmp_path_factory: pytest.TempPathFactory) -> float:
    """Measure how long a run takes without a signal, in seconds."""
    began = time.monotonic()
    with traced_command(tmp_path_factory.mktemp("complete") / "trace", *SHORT_RUN):
        pass
    return time.monotonic() - began


@pytest.mark.parametrize("progress", [0.3, 0.6, 0.8, 0.9, 1.0, 1.1], ids=str)
def test_signals_during_startup_and_shutdown_leave_no_subscription(
    progress: float, duration: float, tmp_path: Path
) -> None:
    with traced_command(tmp_path / "trace", *SHORT_RUN) as watch:
        time.sleep(progress * duration)
        for _ in range(2):
            watch.send_signal(signal.SIGTERM)
            time.sleep(0.02)
        assert watch.stderr is not None
        assert b"" == unexpected_errors(watch.stderr.read())

    assert 0 == subscription_balance(tmp_path / "trace")
    assert watch.returncode in (0, -signal.SIGTERM)  # -SIGTERM: no handler was set yet


def test_later_signal_ends_command_that_blocks_at_the_end() -> None:
    """A message blocks here, on a pipe that nobody reads."""
    code = (
        "import os, signal, sys\n"
        "from procconn.cli import main, watch\n"
        "def run(*_):\n"
        "    try:\n"
        "        os.write(1, b'ready\\n')\n"
        "        signal.pause()\n"
        "    finally:\n"
        "        os.write(2, bytes(1 << 20))\n"
        "watch.run = run\n"
        "sys.exit(main(['watch']))"
    )
    with watching(command=[sys.executable, "-c", code]) as watch:
        assert watch.stdout is not None
        assert b"ready\n" == watch.stdout.readline()
        deadline = time.monotonic() + TIMEOUT / 2
        while watch.poll() is None and time.monotonic() < deadline:
            watch.send_signal(signal.SIGTERM)
            time.sleep(0.1)

        assert 0 == watch.returncode
