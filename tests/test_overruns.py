"""Positions of overruns in the stream, from drop counts and timestamps."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from procconn._core import ffi, lib

MS = 1_000_000
SECOND = 1_000 * MS
MIN_FILL = 20 * MS
BUFFER = 832 * 100  # half of the receive buffer: 100 events of 832 bytes each
LAST = 2**63 - 1


@pytest.fixture
def loss() -> Any:
    return ffi.new("struct loss *")


def take(loss: Any, timestamp: int = LAST) -> tuple[int, int] | None:
    """Remove the overruns before a message; return their drops and start time."""
    overrun = ffi.new("struct overrun *")
    if not lib.loss_take(loss, timestamp, overrun):
        return None
    return overrun.count, overrun.since_ns


def note(loss: Any, drops: int, since: int) -> bool:
    lib.loss_set_drops(loss, drops)
    return lib.loss_note(loss, False, since)


def test_no_drops_make_no_overrun(loss: Any) -> None:
    assert not note(loss, 0, 5)
    assert take(loss) is None
    assert 0 == lib.loss_total(loss)


def test_drops_are_reported_once(loss: Any) -> None:
    assert note(loss, 3, 10)
    assert not note(loss, 3, 20)
    assert (3, 10) == take(loss)
    assert take(loss) is None
    assert 3 == lib.loss_total(loss)


def test_wrap_around_of_the_kernels_drop_count(loss: Any) -> None:
    for drops in (2**31, 2**32 - 1, 1, 5):
        lib.loss_set_drops(loss, drops)

    assert 2**32 + 5 == lib.loss_total(loss)


def test_malformed_datagram_counts_as_a_drop(loss: Any) -> None:
    lib.loss_refuse(loss)

    assert note(loss, 2, 10)
    assert (3, 10) == take(loss)


def test_reading_the_total_does_not_note_the_overrun(loss: Any) -> None:
    """The total can be read at any time; only a drain notes the overrun."""
    lib.loss_set_drops(loss, 4)
    assert 4 == lib.loss_total(loss)

    assert note(loss, 4, 10)
    assert (4, 10) == take(loss)


def test_overrun_without_a_drop_count_has_count_0(loss: Any) -> None:
    assert lib.loss_note(loss, True, 10)

    assert (0, 10) == take(loss)


@pytest.mark.parametrize(
    ("timestamp", "expected"), [(9, None), (10, None), (11, (3, 10))]
)
def test_overrun_comes_before_the_first_later_message(
    loss: Any, timestamp: int, expected: tuple[int, int] | None
) -> None:
    note(loss, 3, 10)

    assert expected == take(loss, timestamp)


def test_overruns_without_a_message_in_between_are_merged(loss: Any) -> None:
    for drops, since in ((3, 10), (5, 20), (9, 30)):
        note(loss, drops, since)

    assert (5, 10) == take(loss, 30)
    assert (4, 30) == take(loss, 31)


def test_more_overruns_than_slots_are_added_to_the_last_one(loss: Any) -> None:
    limit = lib.MAX_OVERRUNS
    for drops in range(1, limit + 11):
        note(loss, drops, drops)

    assert (limit - 1, 1) == take(loss, limit)
    assert (11, limit) == take(loss)
    assert note(loss, limit + 11, 9 * limit)


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (SECOND + MIN_FILL - 1, False),  # too early for the socket to be full
        (SECOND + MIN_FILL, True),
    ],
)
def test_drops_are_queried_once_the_socket_can_have_been_full(
    loss: Any, now: int, expected: bool
) -> None:
    assert expected == lib.loss_ask_amid(loss, now, SECOND, MIN_FILL)


def test_drops_are_queried_at_most_once_a_millisecond_in_a_drain(loss: Any) -> None:
    now = SECOND + MIN_FILL
    queried = [
        at
        for at in range(now, now + 5 * MS, MS // 4)
        if lib.loss_ask_amid(loss, at, SECOND, MIN_FILL)
    ]

    assert [now + n * MS for n in range(5)] == queried


@pytest.mark.parametrize(("received", "expected"), [(99, False), (100, True)])
def test_drops_are_queried_after_receiving_half_of_the_socket_buffer(
    loss: Any, received: int, expected: bool
) -> None:
    lib.loss_ask_after(loss, 9 * SECOND, BUFFER)
    lib.loss_receive(loss, 50)
    lib.loss_receive(loss, received - 50)

    assert expected == lib.loss_ask_after(loss, 9 * SECOND + 1, BUFFER)
    assert not lib.loss_ask_after(loss, 9 * SECOND + 2, BUFFER)


def test_drops_are_queried_at_least_once_a_second(loss: Any) -> None:
    queried = [
        at
        for at in range(SECOND, 4 * SECOND, SECOND // 4)
        if lib.loss_ask_after(loss, at, BUFFER)
    ]

    assert [SECOND, 2 * SECOND, 3 * SECOND] == queried


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("drop"), st.integers(0, 2**31)),
            st.tuples(st.just("message"), st.integers(0, 30)),
        ),
        max_size=40,
    )
)
def test_each_overrun_is_reported_once_before_the_first_later_message(
    steps: list[tuple[str, int]],
) -> None:
    """The model is a list of overruns, each removed by the first later message.

    Timestamps of messages are near the current time, before or after it, because
    messages of different CPUs are slightly out of order.
    """
    loss = ffi.new("struct loss *")
    pending: list[tuple[int, int]] = []
    total = written = 0
    for now, (what, number) in enumerate(steps, 100):
        if what == "drop":
            total += number
            assert note(loss, total % 2**32, now) == (number > 0)
            if number:
                pending.append((number, now))
            continue
        timestamp = now - 15 + number
        passed = []
        while pending and pending[0][1] < timestamp:
            passed.append(pending.pop(0))
        found = take(loss, timestamp)
        expected = (sum(count for count, _ in passed), passed[0][1]) if passed else None
        assert expected == found
        written += found[0] if found else 0

    rest = take(loss)
    assert total == lib.loss_total(loss) == written + (rest[0] if rest else 0)
    assert take(loss) is None
