"""Messages of process events, as the kernel sends them."""

import struct
from collections.abc import Iterator

from procconn import EventType


def process_messages(count: int) -> Iterator[bytes]:
    """Yield the messages of processes that fork, exec and exit."""
    for n in range(count):
        pid, time_ns = 20_000 + n % 10_000, 10**12 + n * 900_000
        for number, (what, *fields) in enumerate(
            (
                (EventType.FORK, 1234, 1234, pid, pid),
                (EventType.EXEC, pid, pid),
                (EventType.EXIT, pid, pid, 256, 17, 1234, 1234),
            )
        ):
            yield _message(what, n % 2, time_ns + number * 300_000, *fields)


def _message(what: int, cpu: int, time_ns: int, *fields: int) -> bytes:
    union = struct.pack(f"={len(fields)}I", *fields)
    headers = (76, 3, 0, 0, 0, 1, 1, 0, 0, 40, 0)
    return struct.pack("=IHHIIIIIIHHIIQ24s", *headers, what, cpu, time_ns, union)
