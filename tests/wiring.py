"""Builders of netlink messages, for tests and benchmarks."""

import struct

NLMSG_NOOP = 1
NLMSG_ERROR = 2
NLMSG_DONE = 3
NLMSG_OVERRUN = 4
NLMSG_MIN_TYPE = 16

UNION_SIZE = 24


def netlink_message(message_type: int, payload: bytes = b"") -> bytes:
    """Put a netlink header before the payload."""
    return struct.pack("=IHHII", 16 + len(payload), message_type, 0, 0, 0) + payload


def cn_message(data: bytes, *, idx: int = 1, val: int = 1, ack: int = 0) -> bytes:
    """Put a connector header before the data."""
    return struct.pack("=IIIIHH", idx, val, 0, ack, len(data) & 0xFFFF, 0) + data


def event_message(
    what: int,
    union: bytes,
    *,
    cpu: int = 0,
    timestamp_ns: int = 0,
    message_type: int = NLMSG_DONE,
) -> bytes:
    """Make a whole message of an event, its union exactly as given."""
    event = struct.pack("=IIQ", what, cpu, timestamp_ns) + union
    return netlink_message(message_type, cn_message(event))


def lost_message(count: int, timestamp_ns: int) -> bytes:
    """Make what the library puts into a stream where events are missing."""
    data = struct.pack("=IIQQ", 0, 0, timestamp_ns, count)
    return netlink_message(NLMSG_DONE, cn_message(data, idx=0x636F6E6E, val=1))


def words(*values: int) -> bytes:
    """Pack u32 fields."""
    return struct.pack(f"={len(values)}I", *values)
