"""Writes seed inputs for fuzz_packets into a directory."""

import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from corpus import write_seeds
from support.messages import MESSAGES, OLDER_PROGRAM
from support.pcaps import OTHER_PROTOCOL, packet
from support.reference_packets import FOREIGN, converted

SWAPPED, MICROSECONDS, HALF = 1, 2, 128
"""Bits of the first byte: byte order, time unit, and a split in the middle."""


def inputs() -> Iterator[bytes]:
    """Yield single messages and pairs, in both byte orders, some with clock steps."""
    native = [*MESSAGES, OLDER_PROGRAM]
    messages = [*native, *(converted(message, "=") for message in native)]
    for message in messages:
        yield bytes([HALF]) + packet(message)
        yield bytes([HALF | SWAPPED | MICROSECONDS]) + packet(message, FOREIGN)
    for before, after in pairwise(messages):
        padded = before + bytes(-len(before) % 4)
        yield bytes([HALF]) + packet(padded + after)
        yield bytes([HALF]) + packet(before, time=(1, 2)) + packet(after, time=(9, 9))
        yield bytes([HALF]) + packet(before) + packet(after) + bytes(40)
        yield bytes([HALF]) + packet(before, cooked=OTHER_PROTOCOL) + packet(after)


if __name__ == "__main__":
    write_seeds(Path(sys.argv[1]), inputs())
