"""Validation of /proc readings, by times and by whether the memory read has ended."""

from typing import Any

import pytest

from procconn._core import ffi, lib

LATENCY = 1000
UNKNOWN = lib.PROCCONN_MEMORY_UNKNOWN
LIVES = lib.PROCCONN_MEMORY_LIVES
ENDED = lib.PROCCONN_MEMORY_ENDED


def exec_(timestamp: int, read: int, **changed: int) -> dict[str, int]:
    """Build an exec from its timestamp and the time of its reading.

    By default, the memory of the previous program had ended before the reading.
    """
    values: dict[str, Any] = {
        "timestamp_ns": timestamp,
        "started_ns": 1,
        "read_ns": read,
        "until_ns": read + LATENCY,
        "is_read": 1,
        "is_pinned": 1,
        "before": ENDED,
    }
    return values | changed


def unread(timestamp: int) -> dict[str, int]:
    return exec_(timestamp, timestamp + 20, is_read=0, is_pinned=0)


def validate(*execs: dict[str, int], ended: int = 0, known: int = 1_000_000) -> int:
    array = ffi.new("struct procconn_exec[]", list(execs))
    return lib.procconn_validate_exec(array, len(execs), ended, known)


def test_last_exec_is_complete() -> None:
    assert lib.PROCCONN_COMPLETE == validate(exec_(100, 120))


def test_last_exec_is_complete_if_its_memory_could_not_be_pinned() -> None:
    assert lib.PROCCONN_COMPLETE == validate(exec_(100, 120, is_pinned=0))


def test_exec_is_pending_until_later_execs_are_known() -> None:
    """An exec is reported at most the latency after it is visible in /proc."""
    assert lib.PROCCONN_PENDING == validate(exec_(100, 120), known=120 + LATENCY - 1)
    assert lib.PROCCONN_COMPLETE == validate(exec_(100, 120), known=120 + LATENCY)


@pytest.mark.parametrize("read", [120, 620])
def test_exec_is_complete_if_its_memory_ended_before_the_next_reading(
    read: int,
) -> None:
    """The next exec may have a timestamp before this reading."""
    assert lib.PROCCONN_COMPLETE == validate(exec_(100, read), exec_(500, 640))


@pytest.mark.parametrize("before", [UNKNOWN, LIVES])
def test_exec_is_later_unless_its_memory_is_known_to_have_ended(before: int) -> None:
    """The reading may be of the next program."""
    assert lib.PROCCONN_LATER == validate(
        exec_(100, 120), exec_(500, 520, before=before)
    )


def test_exec_is_later_if_its_memory_could_not_be_pinned() -> None:
    assert lib.PROCCONN_LATER == validate(exec_(100, 120, is_pinned=0), exec_(500, 520))


def test_exec_is_later_if_the_next_one_was_not_read() -> None:
    assert lib.PROCCONN_LATER == validate(exec_(100, 120), unread(500))


def test_first_exec_is_pending_until_execs_after_the_last_are_known() -> None:
    execs = [exec_(100, 120), exec_(500, 520)]

    assert lib.PROCCONN_PENDING == validate(*execs, known=520 + LATENCY - 1)
    assert lib.PROCCONN_COMPLETE == validate(*execs, known=520 + LATENCY)


def test_exec_after_the_latency_is_ignored() -> None:
    late = 120 + LATENCY + 1

    assert lib.PROCCONN_COMPLETE == validate(
        exec_(100, 120), exec_(late, late, before=1)
    )
    assert lib.PROCCONN_COMPLETE == validate(exec_(100, 120), unread(late))


def test_exec_at_the_latency_counts() -> None:
    late = 120 + LATENCY

    assert lib.PROCCONN_LATER == validate(exec_(100, 120), exec_(late, late, before=1))


def test_exec_that_is_later_itself_proves_nothing() -> None:
    """The second reading, and its memory, may be of the third program."""
    first, second, third = exec_(100, 310), exec_(300, 520), exec_(500, 540, before=1)

    assert lib.PROCCONN_LATER == validate(first, second, third)
    assert lib.PROCCONN_LATER == validate(second, third)
    assert lib.PROCCONN_COMPLETE == validate(third)


def test_chain_of_execs_is_complete() -> None:
    chain = [exec_(100 + 700 * i, 120 + 700 * i) for i in range(5)]

    assert lib.PROCCONN_COMPLETE == validate(*chain)


def test_exec_after_a_pause_does_not_affect_a_chain() -> None:
    """The third exec does not affect the second, and so not the first."""
    pause = 520 + LATENCY + 1

    assert lib.PROCCONN_COMPLETE == validate(
        exec_(100, 120), exec_(500, 520), exec_(pause, pause + 9, before=LIVES)
    )


def test_exec_is_gone_if_the_process_ended_before_the_reading() -> None:
    assert lib.PROCCONN_GONE == validate(exec_(100, 120), ended=120)


def test_exec_is_complete_if_the_process_ended_after_the_reading() -> None:
    assert lib.PROCCONN_COMPLETE == validate(exec_(100, 120), ended=121)


def test_exec_is_gone_if_the_process_read_started_after_it() -> None:
    assert lib.PROCCONN_GONE == validate(exec_(100, 120, started_ns=101))
    assert lib.PROCCONN_COMPLETE == validate(exec_(100, 120, started_ns=100))


@pytest.mark.parametrize("known", [0, 1_000_000])
def test_unread_exec_keeps_its_reason(known: int) -> None:
    assert lib.PROCCONN_COMPLETE == validate(unread(100), known=known)


def test_unread_exec_is_later_if_another_follows() -> None:
    assert lib.PROCCONN_LATER == validate(unread(100), exec_(110, 120))
