"""Threads that use the library concurrently, with or without the GIL."""

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


def all_at_once(work: Callable[[int], object]) -> None:
    """Have each thread work, as many at a time as there are processors."""
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
def test_threads_decode_at_the_same_time(
    copied: Callable[[bytes], bytes | bytearray] | None,
) -> None:
    """Buffers of their own, or one they share."""

    def work(_: int) -> None:
        for _ in range(ROUNDS):
            assert EVENTS == decode(copied(BUFFER) if copied else BUFFER)

    all_at_once(work)


def test_threads_make_columns_at_the_same_time() -> None:
    """Of one buffer, in place, and of copies where an acknowledgement is in between."""
    expected = as_array(ROWS).copy()
    gapped = ROWS[:76] + ACKNOWLEDGEMENT + ROWS[76:]

    def work(_: int) -> None:
        for _ in range(ROUNDS):
            assert np.array_equal(expected, as_array(ROWS))
            assert np.array_equal(expected, as_array(gapped))

    all_at_once(work)


def test_one_iteration_over_messages_gives_each_to_one_thread() -> None:
    for _ in range(ROUNDS):
        messages = NetlinkMessageIter(BUFFER)
        taken: list[list[object]] = [[] for _ in range(THREADS)]

        def work(index: int) -> None:
            taken[index].extend(messages)  # noqa: B023

        all_at_once(work)

        assert Counter(EVENTS) == Counter(event for part in taken for event in part)
