"""One buffer, decoded by procconn, by plain Python and by pyroute2."""

import gc
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from pyroute2.netlink.connector.cn_proc import ProcEventMarshal
from pytest_benchmark.fixture import BenchmarkFixture
from support import reference_decoder

import procconn
from benchmarks.messages import process_messages

EVENTS = 3000
BUFFER = b"".join(process_messages(EVENTS // 3))

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
