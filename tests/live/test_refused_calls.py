"""A sandbox refuses a system call of the receiving thread: the reader raises."""

import json
import sys

import pytest
from support.sandbox import NO_MEMINFO, run_sandboxed
from support.subprocesses import PROGRAMS, run

from live.programs.syscalls import NUMBERS

pytestmark = pytest.mark.heavy

QUEUE_CAPACITY, EVENTS = 3449, 6000


@pytest.mark.parametrize("options", [[], ["asyncio"]])
@pytest.mark.parametrize(
    ("call", "minimum"),
    [("ppoll", 0), ("recvmmsg", 0), ("getsockopt", 1), ("read", QUEUE_CAPACITY - 100)],
)
def test_refused_call_ends_the_thread_and_is_raised(
    call: str, minimum: int, options: list[str]
) -> None:
    """The reader gets the events received before."""
    if call not in NUMBERS:
        pytest.skip("seccomp cannot read the arguments of socketcall(2)")
    done = run(sys.executable, PROGRAMS / "refused_receiver.py", call, *options)
    raised, is_running, received = json.loads(done.stdout)

    assert done.stderr == ""
    assert raised == "PermissionError"
    assert not is_running
    assert minimum <= received <= EVENTS


def test_usage_is_not_reported_without_a_drop_count() -> None:
    """If a record is lost unnoticed, an EXIT could get the usage of another task."""
    code = "from procconn import ProcConnector\nProcConnector(usage=True).close()"
    done = run_sandboxed(NO_MEMINFO, "-c", code)

    assert done.returncode == 0
    assert "usage is not reported: dropped usage records cannot be" in done.stderr
