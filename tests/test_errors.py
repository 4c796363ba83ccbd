"""The exceptions: their hierarchy, messages, and pickling."""

import copy
import pickle

import pytest
from support.messages import SAMPLES

import procconn
from procconn import (
    BufferTooSmallError,
    ConnectionClosedError,
    OverrunError,
    ProcConnError,
    TruncatedError,
    UnsupportedError,
    decode,
    errors,
)

EVENT = SAMPLES["exec"].event
ALL = [
    BufferTooSmallError,
    ConnectionClosedError,
    OverrunError,
    TruncatedError,
    UnsupportedError,
]


@pytest.mark.parametrize(
    ("error", "bases"),
    [
        (ProcConnError, (Exception,)),
        (TruncatedError, (ProcConnError, ValueError)),
        (BufferTooSmallError, (ProcConnError, ValueError)),
        (OverrunError, (ProcConnError,)),
        (ConnectionClosedError, (ProcConnError,)),
        (UnsupportedError, (ProcConnError, OSError)),
    ],
)
def test_tree(error: type[Exception], bases: tuple[type, ...]) -> None:
    assert bases == error.__bases__


def test_there_are_no_others_and_all_are_exported() -> None:
    found = {
        value
        for value in vars(errors).values()
        if isinstance(value, type) and issubclass(value, Exception)
    }

    assert {ProcConnError, *ALL} == found
    assert all(getattr(procconn, error.__name__) is error for error in found)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (TruncatedError(), "truncated message"),
        (TruncatedError(76, [EVENT]), "truncated message"),
        (BufferTooSmallError(64), "buffer too small, need at least 64 bytes"),
        (OverrunError(), "message overrun, events may have been dropped"),
        (OverrunError(76, [EVENT]), "message overrun, events may have been dropped"),
        (ConnectionClosedError(), "connection closed"),
        (UnsupportedError(), "process events are not available here"),
        (UnsupportedError("no CONFIG_CONNECTOR"), "no CONFIG_CONNECTOR"),
    ],
)
def test_text(error: ProcConnError, text: str) -> None:
    assert text == str(error)


def test_truncated_error_made_by_hand_knows_nothing() -> None:
    error = TruncatedError()

    assert (0, []) == (error.offset, error.events)


def test_overrun_error_made_by_hand_knows_nothing() -> None:
    error = OverrunError()

    assert (0, []) == (error.offset, error.events)


def test_buffer_too_small_tells_what_is_needed() -> None:
    assert 64 == BufferTooSmallError(64).needed
    with pytest.raises(TypeError):
        BufferTooSmallError()  # type: ignore[call-arg]


def test_unsupported_error_has_no_errno() -> None:
    assert UnsupportedError("why").errno is None


def test_each_error_is_caught_by_its_base() -> None:
    for error in ALL:
        assert issubclass(error, ProcConnError)


def again(error: ProcConnError) -> list[ProcConnError]:
    return [
        copy.copy(error),
        *(
            pickle.loads(pickle.dumps(error, protocol))
            for protocol in range(pickle.HIGHEST_PROTOCOL + 1)
        ),
    ]


@pytest.mark.parametrize("kind", [TruncatedError, OverrunError])
def test_errors_of_decoding_travel_with_offset_and_events(
    kind: type[TruncatedError | OverrunError],
) -> None:
    error = kind(76, [EVENT])

    for other in again(error):
        assert isinstance(other, kind)
        assert (kind, 76, [EVENT]) == (
            type(other),
            other.offset,
            other.events,
        )


@pytest.mark.parametrize(
    "error",
    [
        BufferTooSmallError(64),
        ConnectionClosedError(),
        UnsupportedError("no CONFIG_CONNECTOR"),
        UnsupportedError(),
    ],
    ids=repr,
)
def test_other_errors_travel_whole(error: ProcConnError) -> None:
    for other in again(error):
        assert type(error) is type(other)
        assert (str(error), vars(error)) == (str(other), vars(other))


def test_error_raised_by_the_decoder_travels_with_its_note() -> None:
    with pytest.raises(TruncatedError) as caught:
        decode(SAMPLES["exec"].message + b"\0")

    for other in again(caught.value):
        assert isinstance(other, TruncatedError)
        assert (76, [EVENT]) == (other.offset, other.events)
        assert caught.value.__notes__ == other.__notes__


def test_events_of_an_error_are_a_list_of_its_own() -> None:
    events = [EVENT]
    error = TruncatedError(0, events)

    events.clear()

    assert [EVENT] == error.events
