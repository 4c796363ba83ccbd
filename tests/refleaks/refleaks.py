"""Fails if calls of the C module leak references or memory.

Requires a debug build of CPython, which counts all references.
"""

import gc
import os
import random
import sys
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from importlib import import_module

from support.builders import (
    NLMSG_DONE,
    NLMSG_ERROR,
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

from procconn import (
    EventMask,
    EventType,
    Exit,
    NetlinkMessageIter,
    ProcConnector,
    ProcConnError,
    decode,
    parse_netlink_message,
)
from procconn._core import lib
from procconn.decoder import Walk
from procconn.events import KINDS, Event

testcapi = import_module("_testcapi")  # which has no types

CALLS = 1000
TOLERANCE = 100  # for caches; a leak occurs in nearly every call

# Events with small ints, which are immortal, and with other ints.
EVENTS = b"".join(
    event_message(what, union, cpu=cpu, timestamp_ns=timestamp_ns)
    for what in [*(kind.what for kind in KINDS), 0xDEAD]
    for union in (bytes(UNION_SIZE), b"\xff" * UNION_SIZE)
    for cpu, timestamp_ns in ((1, 2), (1_000, 2**40))
)
LOSSES = lost_message(1, 2) + lost_message(2**63, 2**40)
PROGRAM = program_trailer(
    b"sh\0-c\0\0\xff\0",
    b"sh",
    b"/bin/sh",
    None,
    b"/a/b",
    ids=(2**31, 0, 1, 2, 2**32 - 1),
)
TRAILERS = b"".join(
    message + bytes(-len(message) % 4)
    for message in (
        with_trailer(event_message(EventType.EXEC, bytes(UNION_SIZE)), PROGRAM),
        with_trailer(
            event_message(EventType.EXIT, bytes(UNION_SIZE)),
            usage_trailer(*range(2**40, 2**40 + 12), 2**64 - 1),
        ),
    )
)
FEW_EVENTS = EVENTS[-3 * 76 :] + LOSSES + TRAILERS
ALLOCATIONS = 200  # more than decoding FEW_EVENTS needs
OTHERS = [
    netlink_message(NLMSG_NOOP),
    netlink_message(NLMSG_ERROR, words(0)),
    netlink_message(NLMSG_DONE, cn_message(words(0, 0, 0, 0, 0))),
]
FAILING = [
    netlink_message(NLMSG_ERROR, words(0xFFFFFFFF)),
    netlink_message(NLMSG_ERROR),
    netlink_message(NLMSG_OVERRUN),
    netlink_message(NLMSG_DONE, bytes(4)),
    netlink_message(NLMSG_DONE, cn_message(b"", idx=2)),
    netlink_message(NLMSG_DONE, cn_message(b"")),
    netlink_message(NLMSG_DONE, cn_message(bytes(UNION_SIZE))[:-1]),
    event_message(KINDS[0].what, b""),
    with_trailer(event_message(EventType.EXEC, bytes(UNION_SIZE)), PROGRAM + b"x"),
    bytes(1),
    bytes(16),
]


def attempt(function: Callable[[], object]) -> None:
    """Call a function, and ignore errors of the library."""
    with suppress(OSError, ProcConnError):
        function()


def decode_complete() -> None:
    decode(EVENTS + LOSSES + TRAILERS + b"".join(OTHERS))


def decode_malformed() -> None:
    for failing in FAILING:
        attempt(partial(decode, EVENTS[:152] + LOSSES + TRAILERS + failing))


def parse() -> None:
    for at in range(0, len(EVENTS), 76):
        parse_netlink_message(EVENTS[at : at + 76])
    for message in [LOSSES, TRAILERS, *OTHERS, *FAILING]:
        attempt(partial(parse_netlink_message, message))


def iterate() -> None:
    messages = NetlinkMessageIter(
        b"".join([EVENTS[:152], LOSSES, TRAILERS, *FAILING[:8], *OTHERS])
    )
    for _ in range(20):
        attempt(partial(next, messages, None))


def decode_mutated() -> None:
    buffer = bytearray(EVENTS + LOSSES + TRAILERS)
    for _ in range(4):
        buffer[random.randrange(len(buffer))] = random.randrange(256)
    attempt(partial(decode, buffer))


def walk_without_memory(at: int) -> bool:
    """Let allocation number `at` fail, and check that no event is lost or repeated.

    Returns:
        Whether an allocation failed.
    """
    events: list[Event] = []
    walk = Walk(FEW_EVENTS)
    gc.collect()  # clears the interpreter's free lists
    testcapi.set_nomemory(at, at + 1)
    try:
        status = walk.decode(events)
    except MemoryError:  # outside the C module
        status = lib.PROCCONN_NO_MEMORY
    finally:
        testcapi.remove_mem_hooks()
    assert status in (lib.PROCCONN_END, lib.PROCCONN_NO_MEMORY)
    assert walk.decode(events) == lib.PROCCONN_END
    assert events == decode(FEW_EVENTS)
    return status == lib.PROCCONN_NO_MEMORY


def decode_without_memory() -> None:
    failed = [walk_without_memory(at) for at in range(ALLOCATIONS)]
    assert failed[0]
    assert not failed[-1]


def receive(connector: ProcConnector) -> None:
    """Set the name of this thread, and read the event in each read mode."""
    buffer = bytearray(4096)
    lib.procconn_rename_thread()
    assert next(iter(connector))
    for read in (
        connector.recv,
        connector.recv_many,
        connector.recv_raw,
        partial(connector.recv_into, buffer),
    ):
        lib.procconn_rename_thread()
        assert read(timeout=5), f"{read} timed out"
    while connector.recv_raw(0):
        pass


def open_and_close() -> None:
    with ProcConnector(receive_buffer=65536) as connector:
        connector.subscribe(EventMask.COMM)


def receive_trailers(connector: ProcConnector) -> None:
    """Read the EXEC and the EXIT of a command, with program and usage."""
    pid = os.posix_spawnp("true", ["true"], os.environ)
    os.waitpid(pid, 0)
    found: list[Event] = []
    deadline = time.monotonic() + 5
    while not any(isinstance(event, Exit) and event.pid == pid for event in found):
        assert time.monotonic() < deadline, "timed out before the EXIT"
        found += connector.recv_many(1)


def open_and_close_all() -> None:
    """Use all features of a connector, and its pollable descriptor."""
    with ProcConnector(
        programs=True, usage=True, queue=65536, receive_buffer=65536, heartbeat=1
    ) as connector:
        connector.fileno()
        connector.unsubscribe()
        connector.subscribe()


def growth(action: Callable[[], None], calls: int) -> tuple[int, int]:
    """Return how many references and memory blocks the calls leaked."""
    count = sys.gettotalrefcount
    for _ in range(calls // 10):
        action()
    gc.collect()
    references, blocks = count(), sys.getallocatedblocks()
    for _ in range(calls):
        action()
    gc.collect()
    return count() - references, sys.getallocatedblocks() - blocks


def leaks(name: str, action: Callable[[], None], calls: int = CALLS) -> bool:
    references, blocks = growth(action, calls)
    leak = max(references, blocks, -references) > TOLERANCE
    print(
        f"{'LEAK' if leak else 'ok':4} {name}: {calls} calls,"
        f" {references:+} references, {blocks:+} blocks"
    )
    return leak


def main() -> int:
    """Run all actions; return the exit status."""
    if not hasattr(sys, "gettotalrefcount"):
        sys.exit("this requires a debug build of Python (python3-dbg on Debian)")
    gc.freeze()  # speeds up later collections
    found = [
        leaks(action.__name__, action)
        for action in (
            decode_complete,
            decode_malformed,
            parse,
            iterate,
            decode_mutated,
            decode_without_memory,
        )
    ]
    try:
        connector = ProcConnector(EventMask.COMM)
    except OSError as error:
        print(f"skip receiving: {error}")
    else:
        with connector:
            found.append(leaks("receive", partial(receive, connector)))
        found.append(leaks("open_and_close", open_and_close, CALLS // 4))
        warnings.simplefilter("ignore")  # warnings about missing privileges
        mask = EventMask.EXEC | EventMask.EXIT
        with ProcConnector(mask, programs=True, usage=True) as connector:
            action = partial(receive_trailers, connector)
            found.append(leaks("receive_trailers", action, CALLS // 4))
        found.append(leaks("open_and_close_all", open_and_close_all, CALLS // 4))
    return any(found)


if __name__ == "__main__":
    sys.exit(main())
