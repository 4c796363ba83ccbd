"""The same buffer decoded by this library, plain Python, and pyroute2."""

import gc
from collections.abc import Callable, Iterator

import pytest
from pyroute2.netlink.connector.cn_proc import ProcEventMarshal
from pytest_benchmark.fixture import BenchmarkFixture
from support import reference_decoder
from support.builders import event_message, words

from procconn import EventType, as_array, decode

EVENTS = 3000


def _buffer() -> bytes:
    """Make what a busy shell does: processes that fork, exec and exit."""
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


def _with_pyroute2(buffer: bytes) -> list[object]:
    return list(ProcEventMarshal().parse(buffer))


READERS: dict[str, Callable[[bytes], object]] = {
    "decode": decode,
    "columns": as_array,
    "reference": reference_decoder.decode,
    "pyroute2": _with_pyroute2,
}


@pytest.fixture(autouse=True)
def _only_own_garbage() -> Iterator[None]:
    """Hide what pytest has from the cyclic collector, which a small program lacks."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.parametrize("name", READERS)
def test_decode(benchmark: BenchmarkFixture, name: str) -> None:
    """Decode the buffer, over and over."""
    result = benchmark(READERS[name], BUFFER)

    benchmark.extra_info["events"] = EVENTS
    assert len(result) == EVENTS
