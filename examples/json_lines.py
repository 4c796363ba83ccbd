"""Write events as JSON lines, for SECONDS or until Ctrl-C: json_lines.py [SECONDS].

`procconn watch --json` does more: it goes on reading while its output is blocked.
"""

import json
import math
import os
import sys
import time
from collections.abc import Iterator

from procconn import Event, ProcConnector, event_time


def record(event: Event) -> dict[str, object]:
    """Make a JSON object of an event; a name of any bytes becomes text."""
    return {
        "event": type(event).__name__.lower(),
        "time": event_time(event).isoformat(),
        **{
            field: value.decode(errors="backslashreplace")
            if isinstance(value, bytes)
            else value
            for field, value in event._asdict().items()
        },
    }


def batches(seconds: float) -> Iterator[list[Event]]:
    """Yield events in batches, which is cheaper than one by one."""
    deadline = time.monotonic() + seconds
    with ProcConnector(max_latency=0.01) as connector:
        while (left := deadline - time.monotonic()) > 0:
            yield connector.recv_many(None if math.isinf(left) else left)


def main(seconds: float) -> None:
    """Write each batch at once, a `Lost` among its events like any other."""
    try:
        for batch in batches(seconds):
            lines = (json.dumps(record(event)) + "\n" for event in batch)
            sys.stdout.write("".join(lines))
            sys.stdout.flush()
    except KeyboardInterrupt:
        pass
    except BrokenPipeError:  # the reader has seen enough; say nothing at exit either
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else math.inf)
