"""Memory use of the command with long command lines."""

import os
import re
import subprocess
from pathlib import Path

import pytest
from support.command import events_until, wait_until_printing, watching

PEAK_LIMIT = 150 << 20  # bytes
ARGUMENTS = [b"\x80"] * 24_500


def peak_of(pid: int) -> int:
    """Return the peak resident set size of a process in bytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1]) * 1024


@pytest.mark.skipif(
    "asan" in os.environ.get("LD_PRELOAD", ""), reason="ASan delays freeing of memory"
)
def test_distinct_long_command_lines_do_not_accumulate() -> None:
    with watching("--json", "--events", "exec") as watch:
        wait_until_printing(watch)
        for number in range(100):
            child = subprocess.Popen(["true", str(number), *ARGUMENTS])
            child.wait()
            events_until(watch, child.pid, "exec")
        peak = peak_of(watch.pid)

    assert peak < PEAK_LIMIT
