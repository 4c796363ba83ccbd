"""Aggregate events with NumPy, without an object for each: aggregate.py SECONDS.

Prints the number of events of each kind on each CPU, and of exits by status.
"""

import sys
import time

import numpy as np

from procconn import EventType, Exit, ProcConnector, as_array
from procconn.columns import row_dtype

NAMES = {kind.value: kind.name for kind in EventType}


def receive(seconds: float) -> tuple[bytes, int]:
    """Return the raw messages received, and the number of events lost."""
    raw = bytearray()
    deadline = time.monotonic() + seconds
    with ProcConnector(max_latency=0.1) as connector:
        while (left := deadline - time.monotonic()) > 0:
            raw += connector.recv_raw(left)
        return bytes(raw), connector.lost


def main(seconds: float) -> None:
    """Receive all events, then count them with vectorized operations."""
    raw, lost = receive(seconds)
    events = as_array(raw)

    pairs, counts = np.unique(events[["what", "cpu"]], return_counts=True)
    for (what, cpu), count in zip(pairs.tolist(), counts.tolist(), strict=True):
        print(f"{count:7} {NAMES.get(what, hex(what))} on CPU {cpu}")

    exits = events[events["what"] == EventType.EXIT].view(row_dtype(Exit))
    processes = exits[exits["pid"] == exits["tgid"]]
    codes, counts = np.unique(processes["exit_code"], return_counts=True)
    for code, count in zip(codes.tolist(), counts.tolist(), strict=True):
        signal = code & 0x7F
        how = f"by signal {signal}" if signal else f"with status {code >> 8}"
        print(f"{count:7} exits {how}")
    print(f"{lost:7} events lost")


if __name__ == "__main__":
    if not sys.argv[1:]:
        sys.exit(__doc__)
    main(float(sys.argv[1]))
