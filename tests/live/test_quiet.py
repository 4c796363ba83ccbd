"""Warnings for an ordinary user, and --quiet."""

import importlib.util
import os
import subprocess

import pytest
from support.command import COMMAND
from support.live import DEADLINE
from support.machine import AS_ORDINARY_USER, KERNEL, LIMITS
from support.subprocesses import any_user_can_run_python

from procconn import diagnosis

CALLS = {
    "watch": ["--duration", "0"],
    "stat": ["--duration", "0"],
    "record": ["--duration", "0", "/dev/stdout"],
    "trace": ["--", "true"],
    "wait": ["--timeout", "0.01", str(os.getpid())],
    "ship": ["--duration", "0", "nats://127.0.0.1:1"],
}


def warnings_of(subcommand: str, *options: str) -> set[str]:
    """Return the limits that a subcommand reports when an ordinary user runs it."""
    command = [*COMMAND, subcommand, *options, *CALLS[subcommand]]
    with subprocess.Popen(
        [*AS_ORDINARY_USER, *command],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        errors = ""
        for line in process.stderr:
            errors += line
            if "events are queued" in line:  # the shipper runs until killed
                process.kill()
        process.wait(DEADLINE)
    return {limit for limit in LIMITS if f"procconn: {limit}" in errors}


@pytest.mark.skipif(
    KERNEL < (6, 6) or not any_user_can_run_python(),
    reason="requires Linux 6.6, and a Python that any user can run",
)
@pytest.mark.parametrize("subcommand", CALLS)
def test_quiet_suppresses_warnings_about_limits(subcommand: str) -> None:
    if subcommand == "ship" and not importlib.util.find_spec("nats"):
        pytest.skip("requires nats-py")
    warned = warnings_of(subcommand)

    assert set() == warnings_of(subcommand, "--quiet")
    if AS_ORDINARY_USER:  # otherwise this user may have some privileges
        assert "programs are read at normal priority" in warned


def test_warning_about_renewed_subscription_is_not_a_limit() -> None:
    with pytest.warns(RuntimeWarning) as warned:
        diagnosis.warn_renewed()

    assert not issubclass(warned[0].category, diagnosis.LimitWarning)
