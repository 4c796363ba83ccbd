"""Builds netlink messages, connector messages and events field by field."""

import struct

NLMSG_NOOP = 1
NLMSG_ERROR = 2
NLMSG_DONE = 3
NLMSG_OVERRUN = 4
NLMSG_MIN_TYPE = 16

UNION_SIZE = 24


def netlink_message(message_type: int, payload: bytes = b"") -> bytes:
    """Prepend a netlink header to the payload."""
    return struct.pack("=IHHII", 16 + len(payload), message_type, 0, 0, 0) + payload


def cn_message(data: bytes, *, idx: int = 1, val: int = 1, ack: int = 0) -> bytes:
    """Prepend a connector header to the data."""
    return struct.pack("=IIIIHH", idx, val, 0, ack, len(data) & 0xFFFF, 0) + data


def event_message(
    what: int,
    union: bytes,
    *,
    cpu: int = 0,
    timestamp_ns: int = 0,
    message_type: int = NLMSG_DONE,
) -> bytes:
    """Build the complete message of an event; the union is not padded."""
    event = struct.pack("=IIQ", what, cpu, timestamp_ns) + union
    return netlink_message(message_type, cn_message(event))


def lost_message(count: int, timestamp_ns: int) -> bytes:
    """Build the message that the library inserts at an overrun."""
    data = struct.pack("=IIQQ", 0, 0, timestamp_ns, count)
    return netlink_message(NLMSG_DONE, cn_message(data, idx=0x636F6E6E, val=1))


def with_trailer(message: bytes, trailer: bytes) -> bytes:
    """Append a trailer to an event, and update the lengths."""
    data = message[36:] + trailer
    return netlink_message(NLMSG_DONE, cn_message(data))


def program_trailer(
    *texts: bytes | None,
    ids: tuple[int, ...] = (1, 2, 3, 4, 5),
    flags: int = 0,
    magic: int = 0x636E7067,
    version: int = 2,
) -> bytes:
    """Build the trailer of an EXEC from argv, name, exe, cwd and cgroup."""
    sizes = [0xFFFF if text is None else len(text) for text in texts]
    header = struct.pack("=IHH5I5HH", magic, version, flags, *ids, *sizes, 0)
    return header + b"".join(text for text in texts if text is not None)


def usage_trailer(*values: int, magic: int = 0x636E7573, version: int = 1) -> bytes:
    """Build the trailer of an EXIT."""
    return struct.pack(f"=IHH{len(values)}Q", magic, version, 0, *values)


def words(*values: int) -> bytes:
    """Pack u32 fields."""
    return struct.pack(f"={len(values)}I", *values)
