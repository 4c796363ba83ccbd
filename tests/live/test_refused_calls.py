"""A sandbox refuses the receiving thread a call: it ends, and the reader raises."""

import json
import sys

import pytest
from support.sandbox import NO_MEMINFO, run_sandboxed
from support.subprocesses import PROGRAMS, run

from live.programs.syscalls import NUMBERS

pytestmark = pytest.mark.heavy

QUEUE_HOLDS, RENAMINGS = 3449, 6000


@pytest.mark.parametrize("way", [[], ["asyncio"]])
@pytest.mark.parametrize(
    ("call", "least"),
    [("ppoll", 0), ("recvmmsg", 0), ("getsockopt", 1), ("read", QUEUE_HOLDS - 100)],
)
def test_a_refused_call_ends_the_thread_and_is_raised(
    call: str, least: int, way: list[str]
) -> None:
    """What was received before is delivered first."""
    if call not in NUMBERS:
        pytest.skip("no filter sees the arguments of socketcall(2)")
    done = run(sys.executable, PROGRAMS / "refused_receiver.py", call, *way)
    raised, is_running, received = json.loads(done.stdout)

    assert done.stderr == ""
    assert raised == "PermissionError"
    assert not is_running
    assert least <= received <= RENAMINGS


def test_without_a_count_of_drops_there_is_no_usage() -> None:
    """Records lost unseen would give EXITs those of others."""
    code = "from procconn import ProcConnector\nProcConnector(usage=True).close()"
    done = run_sandboxed(NO_MEMINFO, "-c", code)

    assert done.returncode == 0
    assert "usage is not reported: not where the records that the kernel" in done.stderr
