"""Signals are noted, not raised; a blocked or impatient end exits the process."""

import signal
import subprocess
import sys

import pytest

BEGIN = """if 1:
    import os, signal, time
    from procconn.cli import shutdown
    shutdown._GRACE = 60
    handlers = shutdown.Shutdown((signal.SIGTERM,))
    handlers.install()
    reading, writing = os.pipe()
    abandon = lambda: print("abandoned", flush=True)
"""


def run(code: str) -> tuple[int, str]:
    """Run the code in a process of its own; return its status and its output."""
    lines = "".join(f"    {line}\n" for line in code.strip().splitlines())
    done = subprocess.run(
        [sys.executable, "-c", BEGIN + lines],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
        timeout=60,
    )
    return done.returncode, done.stdout


def test_a_signal_that_came_before_a_wait_ends_it() -> None:
    code = """
handlers.defer(abandon)
signal.raise_signal(signal.SIGTERM)
handlers.wait(reading, None)
print(handlers.number, 0 < handlers.at_ns <= time.monotonic_ns())
"""

    assert (0, "15 True\n") == run(code)


def test_signals_that_come_together_are_one() -> None:
    code = """
shutdown._TOGETHER_NS = 10**15
handlers.defer(abandon)
signal.raise_signal(signal.SIGTERM)
first = handlers.at_ns
signal.raise_signal(signal.SIGINT)
print(handlers.number, first == handlers.at_ns)
"""

    assert (0, "15 True\n") == run(code)


def test_who_works_is_not_blocked() -> None:
    code = """
shutdown._GRACE, shutdown._WORK = 0.01, 0
handlers.defer(abandon)
signal.raise_signal(signal.SIGTERM)
time.sleep(0.1)
handlers.ignore_signals()
print(handlers.number, handlers.at_ns > 0)
"""

    assert (0, "15 True\n") == run(code)


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGTERM, 0), (signal.SIGUSR1, 128 + signal.SIGUSR1)]
)
def test_a_signal_ends_what_loses_nothing_by_it(number: int, status: int) -> None:
    assert (status, "") == run(f"signal.raise_signal({number})\nprint('went on')")


def test_what_is_blocked_is_abandoned() -> None:
    code = """
shutdown._GRACE = 0.05
handlers.defer(abandon)
signal.raise_signal(signal.SIGTERM)
os.read(reading, 1)
"""

    assert (0, "abandoned\n") == run(code)


def test_a_wait_for_a_known_time_is_not_blocked() -> None:
    code = """
handlers.defer(abandon)
signal.raise_signal(signal.SIGTERM)
shutdown._GRACE = 0.05
with handlers.waiting():
    time.sleep(0.2)
    print("went on", flush=True)
os.read(reading, 1)
"""

    assert (0, "went on\nabandoned\n") == run(code)


def test_first_signal_in_a_timed_wait_starts_no_grace_period() -> None:
    code = """
shutdown._GRACE = 0.05
handlers.defer(abandon)
with handlers.waiting():
    signal.raise_signal(signal.SIGTERM)
    time.sleep(0.2)
    print("went on", flush=True)
os.read(reading, 1)
"""

    assert (0, "went on\nabandoned\n") == run(code)


def test_a_report_that_is_blocked_itself_is_given_up() -> None:
    code = """
shutdown._GRACE = 0.05
handlers.defer(lambda: os.read(reading, 1))
signal.raise_signal(signal.SIGTERM)
os.read(reading, 1)
"""

    assert (0, "") == run(code)


def test_a_later_signal_ends_it_at_once() -> None:
    code = """
shutdown._TOGETHER_NS = 1
handlers.defer(abandon)
signal.raise_signal(signal.SIGTERM)
signal.raise_signal(signal.SIGINT)
print("went on")
"""

    assert (0, "abandoned\n") == run(code)


def test_an_event_loop_gets_each_signal() -> None:
    code = """
with handlers.delegated(abandon) as descriptor:
    signal.raise_signal(signal.SIGTERM)
    signal.raise_signal(signal.SIGINT)
    signal.raise_signal(signal.SIGALRM)
    print([*os.read(descriptor, 9)], handlers.number)
"""

    assert (0, "[15, 2, 14] 15\n") == run(code)


def test_signals_around_the_end_of_a_delegation_are_one() -> None:
    code = """
with handlers.delegated(abandon):
    signal.raise_signal(signal.SIGTERM)
    handlers.at_ns -= shutdown._TOGETHER_NS
signal.raise_signal(signal.SIGTERM)
print("continued")
"""

    assert (0, "continued\n") == run(code)


def test_signal_after_a_failed_delegation_is_reported() -> None:
    code = """
shutdown._TOGETHER_NS = 0
try:
    with handlers.delegated(abandon):
        signal.raise_signal(signal.SIGTERM)
        raise OSError
except OSError:
    signal.raise_signal(signal.SIGTERM)
print("continued")
"""

    assert (2, "abandoned\n") == run(code)


def test_signal_after_a_completed_delegation_exits_at_once() -> None:
    code = """
shutdown._TOGETHER_NS = 0
with handlers.delegated(abandon):
    signal.raise_signal(signal.SIGTERM)
signal.raise_signal(signal.SIGTERM)
print("continued")
"""

    assert (0, "") == run(code)
