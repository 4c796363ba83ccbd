"""Pacing, a pure function: when the receiver wakes up, drains and delivers."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from procconn._core import ffi, lib

LATENCY = 1_000
MIN_FILL = 700
BEGAN = 10_000  # start of the last drain
NEXT = BEGAN + LATENCY
FOREVER = -1

STEPS = {
    lib.PACING_DRAIN: "drain",
    lib.PACING_AWAIT: "await",
    lib.PACING_SLEEP: "sleep",
    lib.PACING_CHECK_FILL: "check",
}


def pacing_after(
    *, latency: int = LATENCY, last_wakeup: int = 0, **changed: int
) -> Any:
    """Build the state after a drain; by default it emptied the socket and delivered."""
    pacing = ffi.new("struct pacing *")
    lib.pacing_begin(pacing, latency, MIN_FILL)
    drain = {
        "began_ns": BEGAN,
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
    return pacing_after(**{"staged": 1, "due_ns": due} | changed)


def step(
    pacing: Any, now: int, *, since: int | None = None, deadline: int = FOREVER
) -> tuple[str, int]:
    found = lib.pacing_next(pacing, now if since is None else since, now, deadline)
    return STEPS[found.action], found.until_ns


def test_new_stream_is_drained_first() -> None:
    pacing = ffi.new("struct pacing *")
    lib.pacing_begin(pacing, LATENCY, MIN_FILL)

    assert ("drain", 5) == step(pacing, 5)


@pytest.mark.parametrize("deadline", [FOREVER, NEXT + 500])
def test_idle_stream_awaits_the_first_event(deadline: int) -> None:
    assert ("await", deadline) == step(pacing_after(), NEXT, deadline=deadline)


def test_events_after_a_wakeup_wait_for_the_next_one() -> None:
    pacing = pacing_after()

    assert ("sleep", BEGAN + MIN_FILL) == step(pacing, BEGAN + 1)
    lib.pacing_note_fill(pacing, BEGAN + MIN_FILL, False)
    assert ("sleep", NEXT) == step(pacing, BEGAN + MIN_FILL)
    assert ("drain", NEXT) == step(pacing, NEXT, since=BEGAN + 1)


def test_drain_without_a_delivery_is_no_wakeup() -> None:
    undelivered = pacing_after(has_delivered=False, last_wakeup=BEGAN - LATENCY)

    assert ("await", FOREVER) == step(undelivered, BEGAN + 1)


def test_data_left_in_the_socket_is_drained_at_once() -> None:
    assert ("drain", BEGAN + 1) == step(pacing_after(has_emptied=False), BEGAN + 1)
    unfinished = pacing_with_staged(BEGAN + 500, has_emptied=False)
    assert ("drain", BEGAN + 1) == step(unfinished, BEGAN + 1)


@pytest.mark.parametrize("deadline", [BEGAN + 300, BEGAN + MIN_FILL])
def test_deadline_ends_the_wait(deadline: int) -> None:
    assert ("sleep", deadline) == step(pacing_after(), BEGAN + 1, deadline=deadline)
    assert ("drain", deadline) == step(
        pacing_after(), deadline, since=BEGAN + 1, deadline=deadline
    )


@pytest.mark.parametrize(
    "pacing",
    [
        pacing_after(),
        pacing_with_staged(BEGAN + 5_000),
        pacing_with_staged(BEGAN + 5_000, has_space=False, has_emptied=False),
    ],
)
def test_deadline_0_drains_at_once(pacing: Any) -> None:
    assert ("drain", BEGAN + 1) == step(pacing, BEGAN + 1, deadline=0)


def test_latency_0_disables_pacing() -> None:
    assert ("await", FOREVER) == step(pacing_after(latency=0), BEGAN)
    staged = pacing_with_staged(BEGAN + 9, latency=0)
    assert ("sleep", BEGAN + 9) == step(staged, BEGAN)
    assert ("drain", BEGAN + 9) == step(staged, BEGAN + 9, since=BEGAN)


@pytest.mark.parametrize(
    ("due", "expected"),
    [
        (BEGAN + 10, NEXT),  # not earlier than the next wake-up
        (NEXT + 10, NEXT + 10),  # not before it is due
    ],
)
def test_staged_event_is_delivered_at_the_first_wakeup_after_it_is_due(
    due: int, expected: int
) -> None:
    pacing = pacing_with_staged(due)
    lib.pacing_note_fill(pacing, BEGAN + MIN_FILL, False)

    assert ("sleep", expected) == step(pacing, BEGAN + MIN_FILL)
    assert ("drain", expected) == step(pacing, expected, since=BEGAN)


def test_staged_event_on_an_idle_stream_is_delivered_when_due() -> None:
    """The drain that received it delivered nothing, so it was no wake-up."""
    pacing = pacing_with_staged(
        BEGAN + 10, has_delivered=False, last_wakeup=BEGAN - LATENCY
    )

    assert ("sleep", BEGAN + 10) == step(pacing, BEGAN + 1)
    assert ("drain", BEGAN + 10) == step(pacing, BEGAN + 10)


@pytest.mark.parametrize(
    ("staged", "expected"), [(49, BEGAN + MIN_FILL), (50, BEGAN + 10)]
)
def test_half_full_staging_buffer_is_not_paced(staged: int, expected: int) -> None:
    pacing = pacing_with_staged(BEGAN + 10, staged=staged)

    assert ("sleep", expected) == step(pacing, BEGAN + 1)


@pytest.mark.parametrize("pacing", [pacing_after(), pacing_with_staged(NEXT + 5_000)])
def test_full_socket_is_drained_during_any_wait(pacing: Any) -> None:
    now = BEGAN + MIN_FILL
    assert ("check", now) == step(pacing, now, since=BEGAN)
    lib.pacing_note_fill(pacing, now, False)
    assert "sleep" == step(pacing, now, since=BEGAN)[0]
    lib.pacing_note_fill(pacing, now, True)
    assert ("drain", now) == step(pacing, now, since=BEGAN)


def test_drain_clears_the_full_state_of_the_socket() -> None:
    pacing = pacing_after()
    lib.pacing_note_fill(pacing, BEGAN, True)
    drain = {"began_ns": BEGAN, "has_emptied": True, "has_space": True}
    lib.pacing_note_drain(pacing, ffi.new("struct pacing_drain *", drain))

    assert ("sleep", BEGAN + MIN_FILL) == step(pacing, BEGAN + 1)


def test_full_socket_is_not_drained_without_space() -> None:
    """Another drain could not receive anything."""
    pacing = pacing_with_staged(NEXT + 5_000, has_space=False, has_emptied=False)
    lib.pacing_note_fill(pacing, BEGAN, True)

    assert ("sleep", NEXT + 5_000) == step(pacing, BEGAN + MIN_FILL)


def test_staged_event_that_is_due_is_delivered_at_once() -> None:
    """The queue had no space for an event with due time 0."""
    assert ("drain", BEGAN + 1) == step(pacing_with_staged(0), BEGAN + 1)


def test_consecutive_drains_deliver_when_due() -> None:
    unfinished = pacing_with_staged(BEGAN + 10, has_emptied=False)

    assert not lib.pacing_delivers(unfinished, BEGAN + 9)
    assert lib.pacing_delivers(unfinished, BEGAN + 10)
    assert lib.pacing_delivers(pacing_with_staged(BEGAN + 10), BEGAN + 9)
    assert lib.pacing_delivers(pacing_after(has_emptied=False), BEGAN + 9)


@dataclass
class Message:
    """An event: when it is queued, and how long the proof of its program takes."""

    queued: int
    proof: int

    @property
    def due(self) -> int:
        """Earliest time of delivery."""
        return self.queued + self.proof


def deliveries(messages: list[Message], latency: int) -> list[tuple[int, Message]]:
    """Run the pacing of messages, delivered in order; return their delivery times."""
    pacing = ffi.new("struct pacing *")
    lib.pacing_begin(pacing, latency, 1 << 60)  # never fills
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
    for wait, proof in waits:
        queued += wait
        messages.append(Message(queued, proof))

    delivered = deliveries(messages, latency)

    wakeups = sorted({now for now, _ in delivered})
    assert all(after - before >= latency for before, after in pairwise(wakeups))
    assert messages == [message for _, message in delivered]
    complete = 0
    for now, message in delivered:
        complete = max(complete, message.due)  # earlier messages go first
        assert complete <= now <= complete + latency
    first, message = delivered[0]
    assert first == message.due, "the stream was idle"
