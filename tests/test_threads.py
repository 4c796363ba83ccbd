"""Concurrent use of the library by threads, with or without the GIL."""

import threading
from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
from support.messages import (
    ACKNOWLEDGEMENT,
    EXEC_WITH_PROGRAM,
    EXIT_WITH_USAGE,
    LOSS,
    SAMPLES,
)

from procconn import NetlinkMessageIter, as_array, decode

THREADS = 8
ROUNDS = 30
ROWS = b"".join(sample.message for sample in SAMPLES.values()) * 40
PADDING = bytes(-len(EXEC_WITH_PROGRAM) % 4)
BUFFER = ROWS + (EXEC_WITH_PROGRAM + PADDING + LOSS + EXIT_WITH_USAGE) * 40
EVENTS = decode(BUFFER)


def run_in_threads(work: Callable[[int], object]) -> None:
    """Call `work` in all threads at once; raise the first failure."""
    start = threading.Barrier(THREADS)
    failures: list[BaseException] = []

    def run(index: int) -> None:
        try:
            start.wait()
            work(index)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(n,)) for n in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


@pytest.mark.parametrize("copied", [bytes, bytearray, None])
def test_threads_decode_concurrently(
    copied: Callable[[bytes], bytes | bytearray] | None,
) -> None:
    """Each thread has its own copy, or all share one buffer."""

    def work(_: int) -> None:
        for _ in range(ROUNDS):
            assert EVENTS == decode(copied(BUFFER) if copied else BUFFER)

    run_in_threads(work)


def test_threads_build_columns_concurrently() -> None:
    """From a shared buffer in place, and by copying around an acknowledgement."""
    expected = as_array(ROWS).copy()
    interrupted = ROWS[:76] + ACKNOWLEDGEMENT + ROWS[76:]

    def work(_: int) -> None:
        for _ in range(ROUNDS):
            assert np.array_equal(expected, as_array(ROWS))
            assert np.array_equal(expected, as_array(interrupted))

    run_in_threads(work)


def test_shared_iterator_yields_each_message_to_one_thread() -> None:
    for _ in range(ROUNDS):
        messages = NetlinkMessageIter(BUFFER)
        received: list[list[object]] = [[] for _ in range(THREADS)]

        def work(index: int) -> None:
            received[index].extend(messages)  # noqa: B023

        run_in_threads(work)

        assert Counter(EVENTS) == Counter(
            event for events in received for event in events
        )
