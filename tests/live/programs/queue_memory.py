"""Fill the queue with programs and the socket with events; check the memory use."""

import ctypes
import os
import sys
import time
from pathlib import Path

from procconn import EventMask, ProcConnector

QUEUE_SIZE, RING_SIZE, MARGIN = 1 << 16, 8 << 20, 3 << 20  # bytes


def anonymous_memory() -> int:
    """Return the anonymous memory of this process, in bytes."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith("Anonymous:"))
    return int(line.split()[1]) * 1024


buffer = bytearray(65_536)
arguments = ["true"] + ["x"] * 24_000
rename = ctypes.CDLL(None).prctl
before = anonymous_memory()
mask = EventMask.EXEC | EventMask.COMM | EventMask.EXIT
with ProcConnector(mask, programs=True, queue=QUEUE_SIZE) as connector:
    for _ in range(300):
        pid = os.posix_spawn("/bin/true", arguments, {})
        os.waitpid(pid, 0)
    for serial in range(100_000):
        rename(15, b"%d" % serial, 0, 0, 0)
    peak, size, end = anonymous_memory() - before, 1, time.monotonic_ns()
    received = 0
    # Read until another process causes an event after `end`, or the stream is empty.
    while size and int.from_bytes(buffer[44:52], sys.byteorder) < end:
        size = connector.recv_into(buffer, 1)
        received += size
        if size > 40_000:  # an EXEC with its program
            peak = max(peak, anonymous_memory() - before)
assert received > 300 * 48_000, received
assert peak < QUEUE_SIZE + RING_SIZE + MARGIN, peak
