"""Which readings may be shown, by times and by what later execs read."""

from typing import Any

import pytest

from procconn._core import ffi, lib

LATENCY = 1000


def exec_(stamp: int, read: int, shows: int, **changed: int) -> dict[str, int]:
    """Make what is known of an exec: its stamp, when it was read, and as what.

    Each program has a stack of its own, in another place.
    """
    known: dict[str, Any] = {
        "stamp_ns": stamp,
        "started_ns": 1,
        "read_ns": read,
        "until_ns": read + LATENCY,
        "print": shows,
        "place": 0x7FFC_0000_0000 + shows,
        "is_read": 1,
    }
    return known | changed


def unread(stamp: int) -> dict[str, int]:
    return exec_(stamp, stamp + 20, 0, is_read=0)


def judge(*execs: dict[str, int], ended: int = 0, known: int = 1_000_000) -> int:
    array = ffi.new("struct procconn_exec[]", list(execs))
    return lib.procconn_judge(array, len(execs), ended, known)


def test_an_exec_that_no_other_follows_is_shown() -> None:
    assert lib.PROCCONN_COMPLETE == judge(exec_(100, 120, 1))


def test_it_waits_until_what_can_have_been_read_instead_is_known() -> None:
    """An exec is reported within the latency of its showing in /proc."""
    assert lib.PROCCONN_PENDING == judge(exec_(100, 120, 1), known=120 + LATENCY - 1)
    assert lib.PROCCONN_COMPLETE == judge(exec_(100, 120, 1), known=120 + LATENCY)


def test_an_exec_that_read_the_same_makes_ours_later() -> None:
    assert lib.PROCCONN_LATER == judge(exec_(100, 120, 1), exec_(500, 520, 1))


def test_so_it_does_if_it_was_stamped_before_ours_was_read() -> None:
    assert lib.PROCCONN_LATER == judge(exec_(100, 620, 1), exec_(500, 640, 1))


def test_one_in_the_same_place_in_memory_is_the_same_with_other_arguments() -> None:
    """A program can write over its arguments before its own exec is read."""
    assert lib.PROCCONN_LATER == judge(
        exec_(100, 520, 1, place=7), exec_(500, 540, 2, place=7)
    )


@pytest.mark.parametrize("places", [(0, 0), (0, 7), (7, 0)])
def test_where_places_are_hidden_other_arguments_prove_nothing(
    places: tuple[int, int],
) -> None:
    """They can be written over, of a program that may not be traced from here."""
    first, second = places

    assert lib.PROCCONN_LATER == judge(
        exec_(100, 520, 1, place=first), exec_(500, 540, 2, place=second)
    )


def test_an_exec_that_read_differently_is_no_obstacle() -> None:
    execs = [exec_(100, 120, 1), exec_(500, 520, 2)]

    assert lib.PROCCONN_COMPLETE == judge(*execs)
    assert lib.PROCCONN_PENDING == judge(*execs, known=520 + LATENCY - 1)


def test_an_exec_that_could_not_be_read_makes_ours_later() -> None:
    assert lib.PROCCONN_LATER == judge(exec_(100, 120, 1), unread(500))


def test_an_exec_after_the_latency_has_no_say() -> None:
    late = 120 + LATENCY + 1

    assert lib.PROCCONN_COMPLETE == judge(exec_(100, 120, 1), exec_(late, late + 9, 1))
    assert lib.PROCCONN_COMPLETE == judge(exec_(100, 120, 1), unread(late))


def test_one_at_the_latency_has() -> None:
    late = 120 + LATENCY

    assert lib.PROCCONN_LATER == judge(exec_(100, 120, 1), exec_(late, late + 9, 1))


def test_a_witness_that_is_not_right_itself_proves_nothing() -> None:
    """Read late, the first shows the second program, and the second the third."""
    first, second, third = exec_(100, 310, 2), exec_(300, 520, 3), exec_(500, 540, 3)

    assert lib.PROCCONN_LATER == judge(first, second, third)
    assert lib.PROCCONN_LATER == judge(second, third)
    assert lib.PROCCONN_COMPLETE == judge(third)


def test_a_chain_of_different_programs_is_shown() -> None:
    chain = [exec_(100 + 700 * i, 120 + 700 * i, i) for i in range(5)]

    assert lib.PROCCONN_COMPLETE == judge(*chain)


def test_what_comes_behind_a_pause_does_not_count() -> None:
    """The third has no say on the second, and so none on the first."""
    pause = 520 + LATENCY + 1

    assert lib.PROCCONN_COMPLETE == judge(
        exec_(100, 120, 1), exec_(500, 520, 2), exec_(pause, pause + 9, 2)
    )


def test_a_pid_used_again_before_the_reading_is_gone() -> None:
    assert lib.PROCCONN_GONE == judge(exec_(100, 120, 1), ended=120)


def test_one_that_ended_after_the_reading_is_shown() -> None:
    assert lib.PROCCONN_COMPLETE == judge(exec_(100, 120, 1), ended=121)


def test_a_process_that_began_after_the_exec_is_another() -> None:
    assert lib.PROCCONN_GONE == judge(exec_(100, 120, 1, started_ns=101))
    assert lib.PROCCONN_COMPLETE == judge(exec_(100, 120, 1, started_ns=100))


@pytest.mark.parametrize("known", [0, 1_000_000])
def test_what_could_not_be_read_keeps_its_own_reason(known: int) -> None:
    assert lib.PROCCONN_COMPLETE == judge(unread(100), known=known)


def test_unless_another_program_followed() -> None:
    assert lib.PROCCONN_LATER == judge(unread(100), exec_(110, 120, 2))
