"""One buffer, decoded by procconn, by plain Python and by pyroute2."""

import gc
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from pyroute2.netlink.connector.cn_proc import ProcEventMarshal
from pytest_benchmark.fixture import BenchmarkFixture
from support import reference_decoder
from support.builders import event_message, words

import procconn
from procconn import EventType

EVENTS = 3000


def _buffer() -> bytes:
    """Build the events of a busy shell: processes that fork, exec and exit."""
    messages = []
    for n in range(EVENTS // 3):
        pid, time_ns = 20_000 + n, 1_000_000_000_000 + n * 900_000
        for what, union in (
            (EventType.FORK, words(1234, 1234, pid, pid)),
            (EventType.EXEC, words(pid, pid)),
            (EventType.EXIT, words(pid, pid, 256, 17, 1234, 1234)),
        ):
            time_ns += 300_000
            messages.append(
                event_message(
                    what, union.ljust(24, b"\0"), cpu=n % 2, timestamp_ns=time_ns
                )
            )
    return b"".join(messages)


BUFFER = _buffer()

_DECODE: dict[str, Callable[[bytes], Any]] = {
    "procconn": procconn.decode,
    "plain Python": reference_decoder.decode,
    "pyroute2": lambda buffer: list(ProcEventMarshal().parse(buffer)),
}
_COLUMN: dict[str, Callable[[bytes], Any]] = {
    "procconn": lambda buffer: procconn.as_array(buffer)["timestamp_ns"],
    "plain Python": lambda buffer: np.array(
        [event.timestamp_ns for event in reference_decoder.decode(buffer)]
    ),
    "pyroute2": lambda buffer: np.array(
        [event["timestamp_ns"] for event in ProcEventMarshal().parse(buffer)]
    ),
}


@pytest.fixture(autouse=True)
def _no_foreign_garbage() -> Iterator[None]:
    """Hide pytest's objects from the cyclic collector: a small program has few."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.benchmark(group="decode a buffer into events: time per event")
@pytest.mark.parametrize("implementation", _DECODE)
def test_decode(benchmark: BenchmarkFixture, implementation: str) -> None:
    """Each implementation decodes all events."""
    benchmark.extra_info["events"] = EVENTS

    assert len(benchmark(_DECODE[implementation], BUFFER)) == EVENTS


@pytest.mark.benchmark(group="the timestamps of a buffer as an array: time per event")
@pytest.mark.parametrize("implementation", _COLUMN)
def test_column(benchmark: BenchmarkFixture, implementation: str) -> None:
    """Each implementation returns the timestamps of all events."""
    benchmark.extra_info["events"] = EVENTS

    assert len(benchmark(_COLUMN[implementation], BUFFER)) == EVENTS
