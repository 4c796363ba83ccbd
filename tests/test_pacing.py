"""Pacing: pure functions that decide when the receiver drains and delivers."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from procconn._core import ffi, lib

LATENCY = 1_000
MIN_FILL = 700
LAST_DRAIN = 10_000
NEXT_WAKEUP = LAST_DRAIN + LATENCY
FOREVER = -1

STEPS = {
    lib.PACING_DRAIN: "drain",
    lib.PACING_AWAIT: "await",
    lib.PACING_SLEEP: "sleep",
    lib.PACING_CHECK_FILL: "check",
}


def pacing_after_drain(
    *, latency: int = LATENCY, last_wakeup: int = 0, **changed: int
) -> Any:
    """Build the state after a drain; by default, that drain emptied the socket."""
    pacing = ffi.new("struct pacing *")
    lib.pacing_begin(pacing, latency, MIN_FILL)
    drain = {
        "began_ns": LAST_DRAIN,
        "has_emptied": True,
        "has_delivered": True,
        "has_space": True,
        "staged": 0,
        "staging_size": 100,
        "due_ns": 0,
    }
    if last_wakeup:
        delivered = {"began_ns": last_wakeup, "has_delivered": True}
        lib.pacing_note_drain(pacing, ffi.new("struct pacing_drain *", delivered))
    lib.pacing_note_drain(pacing, ffi.new("struct pacing_drain *", drain | changed))
    return pacing


def pacing_with_staged(due: int, **changed: int) -> Any:
    """Build the state after a drain that staged an event."""
    return pacing_after_drain(**{"staged": 1, "due_ns": due} | changed)


def step(
    pacing: Any, now: int, *, since: int | None = None, deadline: int = FOREVER
) -> tuple[str, int]:
    found = lib.pacing_next(pacing, now if since is None else since, now, deadline)
    return STEPS[found.action], found.until_ns


def test_new_stream_is_drained_first() -> None:
    pacing = ffi.new("struct pacing *")
    lib.pacing_begin(pacing, LATENCY, MIN_FILL)

    assert ("drain", 5) == step(pacing, 5)


@pytest.mark.parametrize("deadline", [FOREVER, NEXT_WAKEUP + 500])
def test_idle_stream_awaits_the_first_event(deadline: int) -> None:
    assert ("await", deadline) == step(
        pacing_after_drain(), NEXT_WAKEUP, deadline=deadline
    )


def test_events_after_a_wakeup_wait_for_the_next_one() -> None:
    pacing = pacing_after_drain()

    assert ("sleep", LAST_DRAIN + MIN_FILL) == step(pacing, LAST_DRAIN + 1)
    lib.pacing_note_fill(pacing, LAST_DRAIN + MIN_FILL, False)
    assert ("sleep", NEXT_WAKEUP) == step(pacing, LAST_DRAIN + MIN_FILL)
    assert ("drain", NEXT_WAKEUP) == step(pacing, NEXT_WAKEUP, since=LAST_DRAIN + 1)


def test_drain_without_a_delivery_does_not_count_as_a_wakeup() -> None:
    undelivered = pacing_after_drain(
        has_delivered=False, last_wakeup=LAST_DRAIN - LATENCY
    )

    assert ("await", FOREVER) == step(undelivered, LAST_DRAIN + 1)


def test_data_left_in_the_socket_is_drained_at_once() -> None:
    assert ("drain", LAST_DRAIN + 1) == step(
        pacing_after_drain(has_emptied=False), LAST_DRAIN + 1
    )
    unfinished = pacing_with_staged(LAST_DRAIN + 500, has_emptied=False)
    assert ("drain", LAST_DRAIN + 1) == step(unfinished, LAST_DRAIN + 1)


@pytest.mark.parametrize("deadline", [LAST_DRAIN + 300, LAST_DRAIN + MIN_FILL])
def test_deadline_ends_the_wait(deadline: int) -> None:
    assert ("sleep", deadline) == step(
        pacing_after_drain(), LAST_DRAIN + 1, deadline=deadline
    )
    assert ("drain", deadline) == step(
        pacing_after_drain(), deadline, since=LAST_DRAIN + 1, deadline=deadline
    )


@pytest.mark.parametrize(
    "pacing",
    [
        pacing_after_drain(),
        pacing_with_staged(LAST_DRAIN + 5_000),
        pacing_with_staged(LAST_DRAIN + 5_000, has_space=False, has_emptied=False),
    ],
)
def test_deadline_0_drains_at_once(pacing: Any) -> None:
    assert ("drain", LAST_DRAIN + 1) == step(pacing, LAST_DRAIN + 1, deadline=0)


def test_latency_0_disables_pacing() -> None:
    assert ("await", FOREVER) == step(pacing_after_drain(latency=0), LAST_DRAIN)
    staged = pacing_with_staged(LAST_DRAIN + 9, latency=0)
    assert ("sleep", LAST_DRAIN + 9) == step(staged, LAST_DRAIN)
    assert ("drain", LAST_DRAIN + 9) == step(staged, LAST_DRAIN + 9, since=LAST_DRAIN)


@pytest.mark.parametrize(
    ("due", "expected"),
    [
        (LAST_DRAIN + 10, NEXT_WAKEUP),  # not earlier than the next wake-up
        (NEXT_WAKEUP + 10, NEXT_WAKEUP + 10),  # not before it is due
    ],
)
def test_staged_event_is_delivered_at_the_first_wakeup_after_it_is_due(
    due: int, expected: int
) -> None:
    pacing = pacing_with_staged(due)
    lib.pacing_note_fill(pacing, LAST_DRAIN + MIN_FILL, False)

    assert ("sleep", expected) == step(pacing, LAST_DRAIN + MIN_FILL)
    assert ("drain", expected) == step(pacing, expected, since=LAST_DRAIN)


def test_staged_event_on_an_idle_stream_is_delivered_when_due() -> None:
    """The drain that received the event delivered nothing, so it was not a wake-up."""
    pacing = pacing_with_staged(
        LAST_DRAIN + 10, has_delivered=False, last_wakeup=LAST_DRAIN - LATENCY
    )

    assert ("sleep", LAST_DRAIN + 10) == step(pacing, LAST_DRAIN + 1)
    assert ("drain", LAST_DRAIN + 10) == step(pacing, LAST_DRAIN + 10)


@pytest.mark.parametrize(
    ("staged", "expected"), [(49, LAST_DRAIN + MIN_FILL), (50, LAST_DRAIN + 10)]
)
def test_half_full_staging_buffer_disables_pacing(staged: int, expected: int) -> None:
    pacing = pacing_with_staged(LAST_DRAIN + 10, staged=staged)

    assert ("sleep", expected) == step(pacing, LAST_DRAIN + 1)


@pytest.mark.parametrize(
    "pacing", [pacing_after_drain(), pacing_with_staged(NEXT_WAKEUP + 5_000)]
)
def test_full_socket_is_drained_during_any_wait(pacing: Any) -> None:
    now = LAST_DRAIN + MIN_FILL
    assert ("check", now) == step(pacing, now, since=LAST_DRAIN)
    lib.pacing_note_fill(pacing, now, False)
    assert "sleep" == step(pacing, now, since=LAST_DRAIN)[0]
    lib.pacing_note_fill(pacing, now, True)
    assert ("drain", now) == step(pacing, now, since=LAST_DRAIN)


def test_drain_clears_the_full_state_of_the_socket() -> None:
    pacing = pacing_after_drain()
    lib.pacing_note_fill(pacing, LAST_DRAIN, True)
    drain = {"began_ns": LAST_DRAIN, "has_emptied": True, "has_space": True}
    lib.pacing_note_drain(pacing, ffi.new("struct pacing_drain *", drain))

    assert ("sleep", LAST_DRAIN + MIN_FILL) == step(pacing, LAST_DRAIN + 1)


def test_full_socket_is_not_drained_without_space() -> None:
    """Another drain could not receive anything."""
    pacing = pacing_with_staged(NEXT_WAKEUP + 5_000, has_space=False, has_emptied=False)
    lib.pacing_note_fill(pacing, LAST_DRAIN, True)

    assert ("sleep", NEXT_WAKEUP + 5_000) == step(pacing, LAST_DRAIN + MIN_FILL)


def test_staged_event_that_is_due_is_delivered_at_once() -> None:
    """The queue had no space for an event with due time 0."""
    assert ("drain", LAST_DRAIN + 1) == step(pacing_with_staged(0), LAST_DRAIN + 1)


def test_consecutive_drains_deliver_when_due() -> None:
    unfinished = pacing_with_staged(LAST_DRAIN + 10, has_emptied=False)

    assert not lib.pacing_delivers(unfinished, LAST_DRAIN + 9)
    assert lib.pacing_delivers(unfinished, LAST_DRAIN + 10)
    assert lib.pacing_delivers(pacing_with_staged(LAST_DRAIN + 10), LAST_DRAIN + 9)
    assert lib.pacing_delivers(pacing_after_drain(has_emptied=False), LAST_DRAIN + 9)


@dataclass
class Message:
    """An event: when it is queued, and how long validation of its program takes."""

    queued: int
    validation: int

    @property
    def due(self) -> int:
        """Earliest time of delivery."""
        return self.queued + self.validation


def simulate_deliveries(
    messages: list[Message], latency: int
) -> list[tuple[int, Message]]:
    """Simulate paced, ordered delivery; return each message with its delivery time."""
    pacing = ffi.new("struct pacing *")
    lib.pacing_begin(pacing, latency, 1 << 60)  # the socket never fills up
    socket, staged = list(messages), list[Message]()
    delivered: list[tuple[int, Message]] = []
    now = since = 0
    for _ in range(5 * len(messages) + 5):
        if len(delivered) == len(messages):
            break
        action, until = step(pacing, now, since=since)
        if action == "sleep":
            assert until > now, "sleeps until a time that has passed"
            now = until
            continue
        if action == "await":
            now = max(now, socket[0].queued)
        while socket and socket[0].queued <= now:
            staged.append(socket.pop(0))
        before = len(delivered)
        while staged and staged[0].due <= now:
            delivered.append((now, staged.pop(0)))
        drain = {
            "began_ns": now,
            "has_emptied": True,
            "has_delivered": len(delivered) > before,
            "has_space": True,
            "staged": len(staged),
            "staging_size": 1 << 40,
            "due_ns": staged[0].due if staged else 0,
        }
        lib.pacing_note_drain(pacing, ffi.new("struct pacing_drain *", drain))
        since = now
    return delivered


@given(
    st.lists(
        st.tuples(st.integers(0, 3_000), st.sampled_from([0, 0, 300, 1_500])),
        min_size=1,
        max_size=30,
    ),
    st.sampled_from([0, 1, 200, 1_000, 5_000]),
)
def test_wakeups_are_latency_apart_and_events_wait_at_most_latency(
    waits: list[tuple[int, int]], latency: int
) -> None:
    queued, messages = 10_000, []
    for wait, validation in waits:
        queued += wait
        messages.append(Message(queued, validation))

    delivered = simulate_deliveries(messages, latency)

    wakeups = sorted({now for now, _ in delivered})
    assert all(after - before >= latency for before, after in pairwise(wakeups))
    assert messages == [message for _, message in delivered]
    due = 0
    for now, message in delivered:
        due = max(due, message.due)  # earlier messages go first
        assert due <= now <= due + latency
    first, message = delivered[0]
    assert first == message.due, "the first event on an idle stream was delayed"
