"""Exceptions: hierarchy, messages and pickling."""

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
def test_bases(error: type[Exception], bases: tuple[type, ...]) -> None:
    assert bases == error.__bases__


def test_every_exception_is_listed_here_and_exported() -> None:
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
def test_message(error: ProcConnError, text: str) -> None:
    assert text == str(error)


def test_truncated_error_defaults_to_offset_0_and_no_events() -> None:
    error = TruncatedError()

    assert (0, []) == (error.offset, error.events)


def test_overrun_error_defaults_to_offset_0_and_no_events() -> None:
    error = OverrunError()

    assert (0, []) == (error.offset, error.events)


def test_buffer_too_small_error_requires_the_needed_size() -> None:
    assert 64 == BufferTooSmallError(64).needed
    with pytest.raises(TypeError):
        BufferTooSmallError()  # type: ignore[call-arg]


def test_unsupported_error_has_no_errno() -> None:
    assert UnsupportedError("why").errno is None


def test_each_error_is_caught_by_its_base() -> None:
    for error in ALL:
        assert issubclass(error, ProcConnError)


def copies(error: ProcConnError) -> list[ProcConnError]:
    return [
        copy.copy(error),
        *(
            pickle.loads(pickle.dumps(error, protocol))
            for protocol in range(pickle.HIGHEST_PROTOCOL + 1)
        ),
    ]


@pytest.mark.parametrize("kind", [TruncatedError, OverrunError])
def test_copies_of_decoding_errors_keep_offset_and_events(
    kind: type[TruncatedError | OverrunError],
) -> None:
    error = kind(76, [EVENT])

    for copied in copies(error):
        assert isinstance(copied, kind)
        assert (kind, 76, [EVENT]) == (
            type(copied),
            copied.offset,
            copied.events,
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
def test_copies_of_other_errors_keep_message_and_attributes(
    error: ProcConnError,
) -> None:
    for copied in copies(error):
        assert type(error) is type(copied)
        assert (str(error), vars(error)) == (str(copied), vars(copied))


def test_copies_of_an_error_from_the_decoder_keep_its_note() -> None:
    with pytest.raises(TruncatedError) as caught:
        decode(SAMPLES["exec"].message + b"\0")

    for copied in copies(caught.value):
        assert isinstance(copied, TruncatedError)
        assert (76, [EVENT]) == (copied.offset, copied.events)
        assert caught.value.__notes__ == copied.__notes__


def test_error_copies_the_list_of_events() -> None:
    events = [EVENT]
    error = TruncatedError(0, events)

    events.clear()

    assert [EVENT] == error.events
