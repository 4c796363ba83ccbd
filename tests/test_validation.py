"""Validation of readings, by times and by the fate of the memory that was read."""

from typing import Any

import pytest

from procconn._core import ffi, lib

LATENCY = 1000
UNKNOWN = lib.PROCCONN_MEMORY_UNKNOWN
LIVES = lib.PROCCONN_MEMORY_LIVES
ENDED = lib.PROCCONN_MEMORY_ENDED


def exec_(stamp: int, read: int, **changed: int) -> dict[str, int]:
    """Make what is known of an exec: its timestamp and when it was read.

    When it was about to be read, the memory of the program before had ended.
    """
    known: dict[str, Any] = {
        "timestamp_ns": stamp,
        "started_ns": 1,
        "read_ns": read,
        "until_ns": read + LATENCY,
        "is_read": 1,
        "is_pinned": 1,
        "before": ENDED,
    }
    return known | changed


def unread(stamp: int) -> dict[str, int]:
    return exec_(stamp, stamp + 20, is_read=0, is_pinned=0)


def validate(*execs: dict[str, int], ended: int = 0, known: int = 1_000_000) -> int:
    array = ffi.new("struct procconn_exec[]", list(execs))
    return lib.procconn_validate_exec(array, len(execs), ended, known)


def test_an_exec_that_no_other_follows_is_shown() -> None:
    assert lib.PROCCONN_COMPLETE == validate(exec_(100, 120))


def test_so_it_is_where_its_memory_could_not_be_opened() -> None:
    assert lib.PROCCONN_COMPLETE == validate(exec_(100, 120, is_pinned=0))


def test_it_waits_until_what_can_have_been_read_instead_is_known() -> None:
    """An exec is reported within the latency of its showing in /proc."""
    assert lib.PROCCONN_PENDING == validate(exec_(100, 120), known=120 + LATENCY - 1)
    assert lib.PROCCONN_COMPLETE == validate(exec_(100, 120), known=120 + LATENCY)


@pytest.mark.parametrize("read", [120, 620])
def test_an_exec_whose_memory_ended_before_the_next_was_read_is_shown(
    read: int,
) -> None:
    """Also when the next one was stamped before ours was read."""
    assert lib.PROCCONN_COMPLETE == validate(exec_(100, read), exec_(500, 640))


@pytest.mark.parametrize("before", [UNKNOWN, LIVES])
def test_one_whose_memory_had_not_ended_is_later(before: int) -> None:
    """What was read can be of the next program, which runs."""
    assert lib.PROCCONN_LATER == validate(
        exec_(100, 120), exec_(500, 520, before=before)
    )


def test_one_whose_memory_could_not_be_opened_is_later() -> None:
    assert lib.PROCCONN_LATER == validate(exec_(100, 120, is_pinned=0), exec_(500, 520))


def test_an_exec_that_could_not_be_read_makes_ours_later() -> None:
    assert lib.PROCCONN_LATER == validate(exec_(100, 120), unread(500))


def test_the_last_of_several_waits_for_all_to_be_known() -> None:
    execs = [exec_(100, 120), exec_(500, 520)]

    assert lib.PROCCONN_PENDING == validate(*execs, known=520 + LATENCY - 1)
    assert lib.PROCCONN_COMPLETE == validate(*execs, known=520 + LATENCY)


def test_an_exec_after_the_latency_has_no_say() -> None:
    late = 120 + LATENCY + 1

    assert lib.PROCCONN_COMPLETE == validate(
        exec_(100, 120), exec_(late, late, before=1)
    )
    assert lib.PROCCONN_COMPLETE == validate(exec_(100, 120), unread(late))


def test_one_at_the_latency_has() -> None:
    late = 120 + LATENCY

    assert lib.PROCCONN_LATER == validate(exec_(100, 120), exec_(late, late, before=1))


def test_an_exec_that_is_not_right_itself_proves_nothing() -> None:
    """The second may show the third program, so its memory may be that of the third."""
    first, second, third = exec_(100, 310), exec_(300, 520), exec_(500, 540, before=1)

    assert lib.PROCCONN_LATER == validate(first, second, third)
    assert lib.PROCCONN_LATER == validate(second, third)
    assert lib.PROCCONN_COMPLETE == validate(third)


def test_a_chain_of_programs_is_shown() -> None:
    chain = [exec_(100 + 700 * i, 120 + 700 * i) for i in range(5)]

    assert lib.PROCCONN_COMPLETE == validate(*chain)


def test_what_comes_after_a_pause_does_not_count() -> None:
    """The third has no say on the second, and so none on the first."""
    pause = 520 + LATENCY + 1

    assert lib.PROCCONN_COMPLETE == validate(
        exec_(100, 120), exec_(500, 520), exec_(pause, pause + 9, before=LIVES)
    )


def test_a_pid_reused_before_the_reading_is_gone() -> None:
    assert lib.PROCCONN_GONE == validate(exec_(100, 120), ended=120)


def test_one_that_ended_after_the_reading_is_shown() -> None:
    assert lib.PROCCONN_COMPLETE == validate(exec_(100, 120), ended=121)


def test_a_process_that_began_after_the_exec_is_another() -> None:
    assert lib.PROCCONN_GONE == validate(exec_(100, 120, started_ns=101))
    assert lib.PROCCONN_COMPLETE == validate(exec_(100, 120, started_ns=100))


@pytest.mark.parametrize("known", [0, 1_000_000])
def test_what_could_not_be_read_keeps_its_own_reason(known: int) -> None:
    assert lib.PROCCONN_COMPLETE == validate(unread(100), known=known)


def test_unless_another_program_followed() -> None:
    assert lib.PROCCONN_LATER == validate(unread(100), exec_(110, 120))
