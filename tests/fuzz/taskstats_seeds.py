"""Writes seed inputs for fuzz_taskstats into a directory."""

import sys
from collections.abc import Iterator
from pathlib import Path

from corpus import write_seeds
from support.builders import NLMSG_ERROR, netlink_message, words
from support.taskstats import (
    AGGR_PID,
    AGGR_TGID,
    COMMAND_GET,
    FAMILY,
    NULL,
    PID,
    STATS,
    TGID,
    attribute,
    generic_message,
    stats,
    task_message,
)

VERSIONS = (13, 14, 15, 16)


def messages() -> Iterator[bytes]:
    """Yield messages of every version, other messages, and malformed ones."""
    for version in VERSIONS:
        data = stats(version, hiwater_rss=1, hiwater_vm=1, ac_tgid=42, nvcsw=1)
        group = attribute(TGID, words(42)) + attribute(STATS, data)
        yield task_message(42, data)
        yield task_message(42, data, after=attribute(AGGR_TGID, group))
        yield task_message(42, data[:288])
        yield task_message(42, data[:-9])
        yield task_message(0, data)
    data = stats()
    padded = attribute(PID, words(42)) + attribute(NULL, b"") + attribute(STATS, data)
    yield generic_message(attribute(AGGR_PID, padded))
    yield generic_message(attribute(AGGR_PID | 0x8000, padded))
    yield generic_message(attribute(AGGR_PID, padded), command=COMMAND_GET)
    yield generic_message(attribute(NULL, b"") + attribute(AGGR_PID, padded))
    yield generic_message(attribute(AGGR_PID, attribute(STATS, data)))
    yield generic_message(attribute(AGGR_PID, attribute(PID, words(42))))
    yield generic_message(words(0))
    yield netlink_message(FAMILY, b"\x02\x01")
    yield netlink_message(NLMSG_ERROR, words(0, 0, 0, 0, 0))


if __name__ == "__main__":
    write_seeds(Path(sys.argv[1]), messages())
