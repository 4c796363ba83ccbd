"""The place of overruns in the stream, by the kernel's counts and by times."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from procconn._core import ffi, lib

MS = 1_000_000
SECOND = 1_000 * MS
MIN_FILL = 20 * MS
BUFFER = 832 * 100  # half of a socket: 100 events
LAST = 2**63 - 1


@pytest.fixture
def loss() -> Any:
    return ffi.new("struct loss *")


def take(loss: Any, timestamp: int = LAST) -> tuple[int, int] | None:
    """Take what was lost before a message: the count, and since when."""
    overrun = ffi.new("struct overrun *")
    if not lib.loss_take(loss, timestamp, overrun):
        return None
    return overrun.count, overrun.since_ns


def note(loss: Any, drops: int, since: int) -> bool:
    lib.loss_set_drops(loss, drops)
    return lib.loss_note(loss, False, since)


def test_without_loss_there_is_nothing_to_write(loss: Any) -> None:
    assert not note(loss, 0, 5)
    assert take(loss) is None
    assert 0 == lib.loss_total(loss)


def test_each_drop_is_noted_once(loss: Any) -> None:
    assert note(loss, 3, 10)
    assert not note(loss, 3, 20)
    assert (3, 10) == take(loss)
    assert take(loss) is None
    assert 3 == lib.loss_total(loss)


def test_the_kernels_count_wraps_around(loss: Any) -> None:
    for drops in (2**31, 2**32 - 1, 1, 5):
        lib.loss_set_drops(loss, drops)

    assert 2**32 + 5 == lib.loss_total(loss)


def test_a_malformed_datagram_is_lost_too(loss: Any) -> None:
    lib.loss_refuse(loss)

    assert note(loss, 2, 10)
    assert (3, 10) == take(loss)


def test_loss_that_was_asked_for_in_between_keeps_its_place(loss: Any) -> None:
    """The count may be read at any time; a drain notes it."""
    lib.loss_set_drops(loss, 4)
    assert 4 == lib.loss_total(loss)

    assert note(loss, 4, 10)
    assert (4, 10) == take(loss)


def test_a_kernel_that_does_not_count_has_the_place_alone(loss: Any) -> None:
    assert lib.loss_note(loss, True, 10)

    assert (0, 10) == take(loss)


@pytest.mark.parametrize(
    ("timestamp", "expected"), [(9, None), (10, None), (11, (3, 10))]
)
def test_an_overrun_lies_after_what_was_queued_then(
    loss: Any, timestamp: int, expected: tuple[int, int] | None
) -> None:
    note(loss, 3, 10)

    assert expected == take(loss, timestamp)


def test_those_without_a_message_between_them_are_one(loss: Any) -> None:
    for drops, since in ((3, 10), (5, 20), (9, 30)):
        note(loss, drops, since)

    assert (5, 10) == take(loss, 30)
    assert (4, 30) == take(loss, 31)


def test_of_too_many_the_last_one_grows(loss: Any) -> None:
    most = lib.MAX_OVERRUNS
    for drops in range(1, most + 11):
        note(loss, drops, drops)

    assert (most - 1, 1) == take(loss, most)
    assert (11, most) == take(loss)
    assert note(loss, most + 11, 9 * most)


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (SECOND + MIN_FILL - 1, False),  # it cannot have been full
        (SECOND + MIN_FILL, True),
    ],
)
def test_a_socket_that_can_have_been_full_is_asked_about(
    loss: Any, now: int, expected: bool
) -> None:
    assert expected == lib.loss_ask_amid(loss, now, SECOND, MIN_FILL)


def test_within_a_drain_the_kernel_is_asked_once_a_millisecond(loss: Any) -> None:
    now = SECOND + MIN_FILL
    asked = [
        at
        for at in range(now, now + 5 * MS, MS // 4)
        if lib.loss_ask_amid(loss, at, SECOND, MIN_FILL)
    ]

    assert [now + n * MS for n in range(5)] == asked


@pytest.mark.parametrize(("received", "expected"), [(99, False), (100, True)])
def test_after_a_drain_it_is_asked_if_half_of_the_socket_was_received(
    loss: Any, received: int, expected: bool
) -> None:
    lib.loss_ask_after(loss, 9 * SECOND, BUFFER)
    lib.loss_receive(loss, 50)
    lib.loss_receive(loss, received - 50)

    assert expected == lib.loss_ask_after(loss, 9 * SECOND + 1, BUFFER)
    assert not lib.loss_ask_after(loss, 9 * SECOND + 2, BUFFER)


def test_it_is_asked_once_a_second_all_the_same(loss: Any) -> None:
    asked = [
        at
        for at in range(SECOND, 4 * SECOND, SECOND // 4)
        if lib.loss_ask_after(loss, at, BUFFER)
    ]

    assert [SECOND, 2 * SECOND, 3 * SECOND] == asked


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("drop"), st.integers(0, 2**31)),
            st.tuples(st.just("message"), st.integers(0, 30)),
        ),
        max_size=40,
    )
)
def test_each_loss_is_written_once_and_before_the_first_later_message(
    steps: list[tuple[str, int]],
) -> None:
    """Against the rule itself: each place with its count, until a message passes it.

    Messages' timestamps are near the time, before or after it: those of two CPUs are
    not quite in order.
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
