"""Writes seed inputs for fuzz_decode into a directory: built and captured messages."""

import ctypes
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from corpus import write_seeds
from support.builders import (
    NLMSG_DONE,
    NLMSG_ERROR,
    NLMSG_MIN_TYPE,
    NLMSG_NOOP,
    NLMSG_OVERRUN,
    UNION_SIZE,
    cn_message,
    event_message,
    lost_message,
    netlink_message,
    program_trailer,
    usage_trailer,
    with_trailer,
    words,
)

from procconn import EventType, ProcConnector
from procconn.events import KINDS

NONE = 0
OLDER_UNION_SIZE = 16  # before COMM; a message had 68 bytes
UNION = bytes(range(1, UNION_SIZE + 1))
LARGEST = 512  # bytes of an input; equals -max_len in run.sh
CAPTURE_SECONDS = 5


def kinds() -> Iterator[bytes]:
    """Yield every kind and unknown kinds, with unions of all sizes."""
    for what in [kind.what for kind in KINDS] + [0x8000, 0xDEAD, 3]:
        yield event_message(what, UNION, cpu=1, timestamp_ns=2**63)
        yield event_message(what, UNION[:OLDER_UNION_SIZE])
        yield event_message(what, UNION[: OLDER_UNION_SIZE // 2])
        yield event_message(what, b"", message_type=NLMSG_MIN_TYPE)


def controls() -> Iterator[bytes]:
    """Yield messages other than events: control messages and acknowledgements."""
    yield netlink_message(NLMSG_NOOP)
    yield netlink_message(NLMSG_DONE)
    yield netlink_message(NLMSG_OVERRUN)
    for error in (0, 0xFFFFFFFF, 0x80000000):
        yield netlink_message(NLMSG_ERROR, words(error, 0, 0, 0, 0))
    for error in (0, 1):
        acknowledgement = words(NONE, 0, 0, 0, error)
        yield netlink_message(NLMSG_DONE, cn_message(acknowledgement, ack=0x1235))
    yield netlink_message(NLMSG_DONE, cn_message(UNION, idx=2))
    yield netlink_message(NLMSG_DONE, cn_message(UNION, val=2))


def losses() -> Iterator[bytes]:
    """Yield messages that the library inserts at an overrun, some malformed."""
    lost = lost_message(2**63, 2**62)
    yield lost
    yield netlink_message(NLMSG_DONE, lost[16:] + b"more")
    yield netlink_message(NLMSG_DONE, cn_message(lost[36:] + b"more", idx=0x636F6E6E))
    yield netlink_message(NLMSG_DONE, cn_message(lost[36:-1], idx=0x636F6E6E))
    yield netlink_message(NLMSG_DONE, cn_message(lost[36:], idx=0x636F6E6E, val=2))


def trailers() -> Iterator[bytes]:
    """Yield events with trailers, some malformed."""
    event = event_message(EventType.EXEC, UNION)
    texts = (b"a\0\0b", b"name", b"/exe", None, b"/group")
    for trailer in (
        program_trailer(*texts),
        program_trailer(*[None] * 5, flags=0x401),
        program_trailer(*texts, ids=(0xFFFFFFFF,) * 5, flags=0x900),
        program_trailer(*texts, version=1),
        program_trailer(*texts, version=3),
        program_trailer(*texts)[:-1],
        program_trailer(*texts)[:39],
    ):
        yield with_trailer(event, trailer)
    event = event_message(EventType.EXIT, UNION)
    for count in (13, 12):
        yield with_trailer(event, usage_trailer(*[2**64 - 1] * count))


def malformed() -> Iterator[bytes]:
    """Yield a message for each error in a message, and for each framing error."""
    complete = event_message(KINDS[0].what, UNION)
    yield netlink_message(NLMSG_ERROR, b"\0")
    yield netlink_message(NLMSG_DONE, cn_message(b"")[:-1])
    yield netlink_message(NLMSG_DONE, cn_message(UNION)[:-1])
    yield netlink_message(NLMSG_DONE, cn_message(bytes(15)))
    yield netlink_message(NLMSG_DONE, cn_message(words(NONE, 0, 0, 0)))
    yield complete[:15]
    yield complete[:-1]
    yield words(15) + complete[4:]


def joined(messages: list[bytes]) -> Iterator[bytes]:
    """Yield buffers of several messages, some with an unpadded message."""
    padding = bytes(3)
    odd = netlink_message(NLMSG_NOOP, b"\0")
    for before, after in pairwise(messages):
        yield before + after
        yield odd + padding + before + padding[: -len(before) % 4] + after
        yield before + netlink_message(NLMSG_DONE) + after
    for at in range(0, len(messages), 4):
        yield b"".join(messages[at : at + 4])


def cause_events() -> None:
    """Make the kernel send most kinds of events."""
    subprocess.run(["/bin/sh", "-c", "exit 3"], check=False, start_new_session=True)
    thread = threading.Thread(target=ctypes.CDLL(None).prctl, args=(15, b"\xff\xfe"))
    thread.start()
    thread.join()
    if child := os.fork():
        os.waitpid(child, 0)
    else:
        if os.geteuid() == 0:
            os.setgid(65534)
            os.setuid(65534)
        os._exit(0)


def captured() -> Iterator[bytes]:
    """Yield datagrams of this machine's kernel, single and joined."""
    try:
        connector = ProcConnector()
    except OSError as error:
        print(f"no seeds from the kernel: {error}", file=sys.stderr)
        return
    with connector:
        cause_events()
        raw = connector.recv_raw(CAPTURE_SECONDS)
        deadline = time.monotonic() + CAPTURE_SECONDS
        while len(raw) < 4096 and time.monotonic() < deadline:
            cause_events()
            raw += connector.recv_raw(1)
    size = 76
    for at in range(0, min(len(raw), 64 * size), size):
        yield raw[at : at + size]
    for at in range(0, min(len(raw), 64 * size), 6 * size):
        yield raw[at : at + 6 * size]


def main(directory: Path) -> None:
    """Write one file for each input."""
    built = [*kinds(), *controls(), *losses(), *trailers(), *malformed()]
    live = list(captured())
    seeds = {seed for seed in [*built, *joined(built), *live] if len(seed) <= LARGEST}
    write_seeds(directory, sorted(seeds))
    print(f"{len(seeds)} seeds, {len(set(live))} of them from the kernel")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
