"""Recordings made by hand, packet by packet."""

import io
import struct

HEADER_SIZE = 24
COOKED = bytes.fromhex("0000 0338 00000000000000000000 000b")
OTHER_PROTOCOL = COOKED[:-1] + b"\x0f"


def pcap(
    *messages: bytes,
    order: str = "=",
    magic: int = 0xA1B23C4D,
    link_type: int = 253,
    times: list[tuple[int, int]] | None = None,
) -> bytes:
    """Make a file with a packet for each message."""
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
    """Make one packet, without the header of a file."""
    size = len(cooked) + len(data)
    return struct.pack(order + "IIII", *time, size, size) + cooked + data


class Pieces(io.BytesIO):
    """A file that returns at most so many bytes at a time."""

    def __init__(self, data: bytes, piece: int) -> None:
        super().__init__(data)
        self._piece = piece

    def read1(self, size: int | None = -1) -> bytes:
        """Return the next bytes."""
        return super().read1(min(self._piece, size or self._piece))
