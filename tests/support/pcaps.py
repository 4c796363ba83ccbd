"""Builds pcap files packet by packet."""

import io
import struct

HEADER_SIZE = 24
# Linux cooked-mode headers for the connector and for another netlink protocol.
COOKED = bytes.fromhex("0000 0338 00000000000000000000 000b")
OTHER_PROTOCOL = COOKED[:-1] + b"\x0f"


def pcap(
    *messages: bytes,
    order: str = "=",
    magic: int = 0xA1B23C4D,
    link_type: int = 253,
    times: list[tuple[int, int]] | None = None,
) -> bytes:
    """Build a file with one packet for each message."""
    file = struct.pack(order + "IHHiIII", magic, 2, 4, 0, 0, 262144, link_type)
    for message, time in zip(messages, times or [(1, 2)] * len(messages), strict=True):
        file += packet(message, order, time)
    return file


def packet(
    data: bytes,
    order: str = "=",
    time: tuple[int, int] = (1, 2),
    cooked: bytes = COOKED,
) -> bytes:
    """Build one packet, without a file header."""
    size = len(cooked) + len(data)
    return struct.pack(order + "IIII", *time, size, size) + cooked + data


class ChunkedFile(io.BytesIO):
    """A file whose reads return at most `limit` bytes."""

    def __init__(self, data: bytes, limit: int) -> None:
        super().__init__(data)
        self._limit = limit

    def read1(self, size: int | None = -1) -> bytes:
        """Return the next bytes."""
        return super().read1(min(self._limit, size or self._limit))
