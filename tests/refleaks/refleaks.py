"""Fail if anything that reaches the C module leaks references or memory.

For a debug build of CPython: only that counts all references there are, those to
objects that are never freed included.
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
SLACK = 100  # of caches; what leaks does so with every call, or nearly

# Small ints, which live for ever, and others.
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
ALLOCATIONS = 200  # more than decoding those takes
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
    """Call it; whether it fails is not the question."""
    with suppress(OSError, ProcConnError):
        function()


def decode_whole() -> None:
    decode(EVENTS + LOSSES + TRAILERS + b"".join(OTHERS))


def decode_damaged() -> None:
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
    """Let one allocation fail, if there are so many; the events still come, once."""
    events: list[Event] = []
    walk = Walk(FEW_EVENTS)
    gc.collect()  # ends the interpreter's own stores of free tuples
    testcapi.set_nomemory(at, at + 1)
    try:
        status = walk.take(events)
    except MemoryError:  # outside the C module
        status = lib.PROCCONN_NO_MEMORY
    finally:
        testcapi.remove_mem_hooks()
    assert status in (lib.PROCCONN_END, lib.PROCCONN_NO_MEMORY)
    assert walk.take(events) == lib.PROCCONN_END
    assert events == decode(FEW_EVENTS)
    return status == lib.PROCCONN_NO_MEMORY


def decode_without_memory() -> None:
    struck = [walk_without_memory(at) for at in range(ALLOCATIONS)]
    assert struck[0]
    assert not struck[-1]


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
        assert read(timeout=5), f"nothing came to {read}"
    while connector.recv_raw(0):
        pass


def open_and_close() -> None:
    with ProcConnector(receive_buffer=65536) as connector:
        connector.subscribe(EventMask.COMM)


def receive_trailers(connector: ProcConnector) -> None:
    """Read a command's exec and end, with its program and what it cost."""
    pid = os.posix_spawnp("true", ["true"], os.environ)
    os.waitpid(pid, 0)
    found: list[Event] = []
    deadline = time.monotonic() + 5
    while not any(isinstance(it, Exit) and it.pid == pid for it in found):
        assert time.monotonic() < deadline, "no exit came"
        found += connector.recv_many(1)


def open_and_close_all() -> None:
    """With all that a connector can have, and a descriptor to wait for."""
    with ProcConnector(
        programs=True, usage=True, queue=65536, receive_buffer=65536, heartbeat=1
    ) as connector:
        connector.fileno()
        connector.unsubscribe()
        connector.subscribe()


def grown(action: Callable[[], None], calls: int) -> tuple[int, int]:
    """Return how many references and blocks of memory the calls leaked."""
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
    references, blocks = grown(action, calls)
    leak = max(references, blocks, -references) > SLACK
    print(
        f"{'LEAK' if leak else 'ok':4} {name}: {calls} calls,"
        f" {references:+} references, {blocks:+} blocks"
    )
    return leak


def main() -> int:
    """Try everything; return the exit status."""
    if not hasattr(sys, "gettotalrefcount"):
        sys.exit("this takes a debug build of Python, which counts its references")
    gc.freeze()  # what is there by now needs no collecting
    found = [
        leaks(action.__name__, action)
        for action in (
            decode_whole,
            decode_damaged,
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
        warnings.simplefilter("ignore")  # without privilege there is less to leak
        mask = EventMask.EXEC | EventMask.EXIT
        with ProcConnector(mask, programs=True, usage=True) as connector:
            action = partial(receive_trailers, connector)
            found.append(leaks("receive_trailers", action, CALLS // 4))
        found.append(leaks("open_and_close_all", open_and_close_all, CALLS // 4))
    return any(found)


if __name__ == "__main__":
    sys.exit(main())
