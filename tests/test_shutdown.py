"""Signal handling: handlers record the first signal, and exit if it takes too long."""

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
    """Run code after BEGIN in a new process; return its exit status and output."""
    lines = "".join(f"    {line}\n" for line in code.strip().splitlines())
    done = subprocess.run(
        [sys.executable, "-c", BEGIN + lines],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
        timeout=60,
    )
    return done.returncode, done.stdout


def test_signal_before_a_wait_ends_the_wait() -> None:
    code = """
handlers.defer_exit(abandon)
signal.raise_signal(signal.SIGTERM)
handlers.wait(reading, None)
print(handlers.number, 0 < handlers.at_ns <= time.monotonic_ns())
"""

    assert (0, "15 True\n") == run(code)


def test_signals_within_the_repeat_time_count_as_one() -> None:
    code = """
shutdown._REPEAT_NS = 10**15
handlers.defer_exit(abandon)
signal.raise_signal(signal.SIGTERM)
first = handlers.at_ns
signal.raise_signal(signal.SIGINT)
print(handlers.number, first == handlers.at_ns)
"""

    assert (0, "15 True\n") == run(code)


def test_working_thread_is_not_blocked() -> None:
    code = """
shutdown._GRACE, shutdown._MIN_CPU = 0.01, 0
handlers.defer_exit(abandon)
signal.raise_signal(signal.SIGTERM)
time.sleep(0.1)
handlers.ignore_signals()
print(handlers.number, handlers.at_ns > 0)
"""

    assert (0, "15 True\n") == run(code)


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGTERM, 0), (signal.SIGUSR1, 128 + signal.SIGUSR1)]
)
def test_signal_exits_at_once_unless_deferred(number: int, status: int) -> None:
    assert (status, "") == run(f"signal.raise_signal({number})\nprint('continued')")


def test_blocked_thread_is_abandoned_after_the_grace_period() -> None:
    code = """
shutdown._GRACE = 0.05
handlers.defer_exit(abandon)
signal.raise_signal(signal.SIGTERM)
os.read(reading, 1)
"""

    assert (0, "abandoned\n") == run(code)


def test_timed_wait_suspends_the_grace_period() -> None:
    code = """
handlers.defer_exit(abandon)
signal.raise_signal(signal.SIGTERM)
shutdown._GRACE = 0.05
with handlers.waiting():
    time.sleep(0.2)
    print("continued", flush=True)
os.read(reading, 1)
"""

    assert (0, "continued\nabandoned\n") == run(code)


def test_first_signal_in_a_timed_wait_starts_no_grace_period() -> None:
    code = """
shutdown._GRACE = 0.05
handlers.defer_exit(abandon)
with handlers.waiting():
    signal.raise_signal(signal.SIGTERM)
    time.sleep(0.2)
    print("continued", flush=True)
os.read(reading, 1)
"""

    assert (0, "continued\nabandoned\n") == run(code)


def test_blocked_abandon_function_ends_after_another_grace_period() -> None:
    code = """
shutdown._GRACE = 0.05
handlers.defer_exit(lambda: os.read(reading, 1))
signal.raise_signal(signal.SIGTERM)
os.read(reading, 1)
"""

    assert (0, "") == run(code)


def test_second_signal_exits_at_once() -> None:
    code = """
shutdown._REPEAT_NS = 1
handlers.defer_exit(abandon)
signal.raise_signal(signal.SIGTERM)
signal.raise_signal(signal.SIGINT)
print("continued")
"""

    assert (0, "abandoned\n") == run(code)


def test_delegated_descriptor_has_a_byte_for_each_signal() -> None:
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
    handlers.at_ns -= shutdown._REPEAT_NS
signal.raise_signal(signal.SIGTERM)
print("continued")
"""

    assert (0, "continued\n") == run(code)


def test_signal_after_a_failed_delegation_is_reported() -> None:
    code = """
shutdown._REPEAT_NS = 0
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
shutdown._REPEAT_NS = 0
with handlers.delegated(abandon):
    signal.raise_signal(signal.SIGTERM)
signal.raise_signal(signal.SIGTERM)
print("continued")
"""

    assert (0, "") == run(code)
