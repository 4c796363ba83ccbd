"""A message of each kind with the event it decodes to; comparable decoder results."""

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from procconn import (
    Comm,
    Coredump,
    Event,
    Exec,
    Exit,
    Fork,
    Gid,
    Lost,
    OverrunError,
    Program,
    Ptrace,
    Sid,
    TruncatedError,
    Uid,
    Usage,
)
from procconn.errors import HasEvents
from support.builders import (
    NLMSG_DONE,
    NLMSG_ERROR,
    NLMSG_NOOP,
    NLMSG_OVERRUN,
    cn_message,
    event_message,
    lost_message,
    netlink_message,
    program_trailer,
    usage_trailer,
    with_trailer,
    words,
)

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

CPU = 0xC0FFEE03
TIMESTAMP_NS = 0xFEDCBA9876543210


class Sample(NamedTuple):
    """A 76-byte datagram, as the kernel sends it, and the event it decodes to."""

    message: bytes
    event: Event
    union_size: int
    """Bytes of the union that the fields of this kind occupy."""


def _sample(what: int, union: bytes, event: Event) -> Sample:
    padded = union.ljust(24, b"\xaa")
    message = event_message(what, padded, cpu=CPU, timestamp_ns=TIMESTAMP_NS)
    return Sample(message, event, len(union))


# All field values differ, so that a test fails if two fields are swapped.
SAMPLES = {
    "fork": _sample(
        0x00000001,
        words(0x11223301, 0x11223302, 0x11223303, 0xF1223304),
        Fork(0x11223301, 0x11223302, 0x11223303, 0xF1223304, TIMESTAMP_NS, CPU),
    ),
    "exec": _sample(
        0x00000002,
        words(0x21223301, 0xF1223302),
        Exec(0x21223301, 0xF1223302, TIMESTAMP_NS, CPU),
    ),
    "uid": _sample(
        0x00000004,
        words(0x31223301, 0x31223302, 0x31223303, 0xF1223304),
        Uid(0x31223301, 0x31223302, 0x31223303, 0xF1223304, TIMESTAMP_NS, CPU),
    ),
    "gid": _sample(
        0x00000040,
        words(0x41223301, 0x41223302, 0x41223303, 0xF1223304),
        Gid(0x41223301, 0x41223302, 0x41223303, 0xF1223304, TIMESTAMP_NS, CPU),
    ),
    "sid": _sample(
        0x00000080,
        words(0x51223301, 0xF1223302),
        Sid(0x51223301, 0xF1223302, TIMESTAMP_NS, CPU),
    ),
    "ptrace": _sample(
        0x00000100,
        words(0x61223301, 0x61223302, 0x61223303, 0xF1223304),
        Ptrace(0x61223301, 0x61223302, 0x61223303, 0xF1223304, TIMESTAMP_NS, CPU),
    ),
    "comm": _sample(
        0x00000200,
        words(0x71223301, 0xF1223302) + b"sixteen bytes...",
        Comm(0x71223301, 0xF1223302, b"sixteen bytes...", TIMESTAMP_NS, CPU),
    ),
    "coredump": _sample(
        0x40000000,
        words(0x81223301, 0x81223302, 0x81223303, 0xF1223304),
        Coredump(0x81223301, 0x81223302, 0x81223303, 0xF1223304, TIMESTAMP_NS, CPU),
    ),
    "exit": _sample(
        0x80000000,
        words(0x91223301, 0x91223302, 0x91223303, 0x91223304, 0x91223305, 0xF1223306),
        Exit(
            0x91223301,
            0x91223302,
            0x91223303,
            0x91223304,
            0x91223305,
            0xF1223306,
            TIMESTAMP_NS,
            CPU,
        ),
    ),
}

OLDER_EXIT = event_message(0x80000000, words(7, 7, 256, 17), cpu=1, timestamp_ns=5)
OLDER_COREDUMP = event_message(0x40000000, words(8, 8), cpu=1, timestamp_ns=6)
NEWER_KIND = event_message(0x00000400, b"\x01\x02\x03", cpu=2, timestamp_ns=7)
PROGRAM = Program(
    ("sh", "", "-c", "exit 3\udcff"),
    "sh",
    "/usr/bin/d\u00e4sh",
    None,
    0xB1223301,
    0,
    None,
    0xB1223304,
    0xB1223305,
    "/a.slice/docker-" + "0123456789abcdef" * 4 + ".scope",
    True,
    "denied",
)
EXEC_WITH_PROGRAM = with_trailer(
    SAMPLES["exec"].message,
    program_trailer(
        b"sh\0\0-c\0exit 3\xff\0",
        b"sh",
        b"/usr/bin/d\xc3\xa4sh",
        None,
        b"/a.slice/docker-" + b"0123456789abcdef" * 4 + b".scope",
        ids=(0xB1223301, 0, 0xFFFFFFFF, 0xB1223304, 0xB1223305),
        flags=0x301,
    ),
)
OLDER_PROGRAM = with_trailer(
    event_message(2, bytes(24)),
    program_trailer(b"a\0", None, None, b"/", None, version=1),
)
USAGE = Usage._make([*range(2**40, 2**40 + 4), None, None, *range(2**63, 2**63 + 7)])
EXIT_WITH_USAGE = with_trailer(
    SAMPLES["exit"].message,
    usage_trailer(*(2**64 - 1 if value is None else value for value in USAGE)),
)
LOSS = lost_message(0xA1223301_A1223302, TIMESTAMP_NS)
LOST = Lost(0xA1223301_A1223302, TIMESTAMP_NS)
NOOP = netlink_message(NLMSG_NOOP)
DONE = netlink_message(NLMSG_DONE)
OVERRUN = netlink_message(NLMSG_OVERRUN)
ACKNOWLEDGEMENT = netlink_message(NLMSG_ERROR, words(0) + bytes(16))
REFUSAL = netlink_message(NLMSG_ERROR, words(2**32 - 1) + bytes(16))
PROC_ACKNOWLEDGEMENT = event_message(0, words(0).ljust(24, b"\0"))
FOREIGN = netlink_message(NLMSG_DONE, cn_message(b"not an event", idx=5, val=1))

NO_EVENTS = {
    "no-op": NOOP,
    "acknowledgement": ACKNOWLEDGEMENT,
    "proc acknowledgement": PROC_ACKNOWLEDGEMENT,
    "foreign": FOREIGN,
}
"""Messages that decode to no event and raise nothing."""

MESSAGES = [
    *(sample.message for sample in SAMPLES.values()),
    *NO_EVENTS.values(),
    OLDER_EXIT,
    OLDER_COREDUMP,
    NEWER_KIND,
    LOSS,
    EXEC_WITH_PROGRAM,
    EXIT_WITH_USAGE,
    OVERRUN,
    REFUSAL,
    DONE,
]
"""Every kind of message, each well-formed."""


def offset_and_events(error: OSError) -> tuple[int, list[Event]]:
    """Return the offset and the events that decoding adds to an OSError."""
    if not isinstance(error, HasEvents):
        raise TypeError(f"{error!r} was not raised by decoding")
    return error.offset, error.events


def outcome(
    decode: Callable[["ReadableBuffer"], list[Event]], buffer: "ReadableBuffer"
) -> tuple[object, ...]:
    """Call a decoder; return its events or its exception in comparable form."""
    try:
        return "returned", decode(buffer)
    except (TruncatedError, OverrunError) as error:
        return type(error), error.offset, error.events
    except OSError as error:
        return type(error), error.errno, error.strerror, *offset_and_events(error)
