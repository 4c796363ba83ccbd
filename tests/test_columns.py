"""Columns have the same values as the events that `decode` returns."""

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from support.builders import (
    NLMSG_DONE,
    NLMSG_ERROR,
    NLMSG_NOOP,
    NLMSG_OVERRUN,
    cn_message,
    event_message,
    lost_message,
    netlink_message,
    words,
)
from support.messages import EXEC_WITH_PROGRAM, EXIT_WITH_USAGE, offset_and_events

from procconn import (
    Comm,
    Event,
    EventType,
    Exec,
    Exit,
    Lost,
    OverrunError,
    ProcConnError,
    TruncatedError,
    Unknown,
    as_array,
    decode,
)
from procconn.columns import row_dtype
from procconn.events import KINDS

KIND_OF = {int(kind.what): kind for kind in KINDS}

FORK = event_message(EventType.FORK, words(1, 2, 3, 4, 0, 0), timestamp_ns=5, cpu=1)
EXIT = event_message(EventType.EXIT, words(6, 7, 256, 17, 1, 2), timestamp_ns=2**63)
EXEC_WITH_16_BYTE_UNION = event_message(EventType.EXEC, words(8, 9, 0, 0))
PROC_ACKNOWLEDGEMENT = event_message(EventType.NONE, words(0, 0, 0, 0, 0, 0))
NOOP = netlink_message(NLMSG_NOOP)
FOREIGN = netlink_message(NLMSG_DONE, cn_message(bytes(40), idx=3))
BARE_DONE = netlink_message(NLMSG_DONE)
LOSS = lost_message(3, 4)


def events_of(array: NDArray[np.void]) -> list[Event]:
    return [event_of(array[i : i + 1]) for i in range(len(array))]


def event_of(rows: NDArray[np.void]) -> Event:
    what, cpu, timestamp_ns = (
        rows[name].item() for name in ("what", "cpu", "timestamp_ns")
    )
    if what not in KIND_OF:
        return Unknown(what, rows["event_data"].tobytes(), timestamp_ns, cpu)
    kind = KIND_OF[what]
    typed = rows.view(row_dtype(kind))
    names = typed.dtype.names or ()
    values = {name: typed[name].item() for name in kind._fields if name in names}
    if kind is Comm:
        values["comm"] = values["comm"].partition(b"\0")[0]
    return kind(**values)


def events_in_rows(events: list[Event]) -> list[Event]:
    return [fit_to_row(event) for event in events if not isinstance(event, Lost)]


def fit_to_row(event: Event) -> Event:
    if isinstance(event, Unknown):
        return event._replace(raw_data=event.raw_data[:24].ljust(24, b"\0"))
    if isinstance(event, Exec):
        return event._replace(program=None)
    if isinstance(event, Exit):
        return event._replace(usage=None)
    return event


def outcome(call: object, buffer: bytes) -> object:
    """Return the events, or the class and attributes of the exception."""
    try:
        if call is decode:
            return events_in_rows(decode(buffer))
        return events_of(as_array(buffer))
    except OSError as error:
        return type(error), error.errno, *offset_and_events(error)
    except (TruncatedError, OverrunError) as error:
        return type(error), error.offset, error.events


events = st.builds(
    event_message,
    st.sampled_from([*KIND_OF, 0xDEAD]),
    st.binary(min_size=24, max_size=24),
    cpu=st.integers(0, 2**32 - 1),
    timestamp_ns=st.integers(0, 2**64 - 1),
)
other_messages = st.one_of(
    st.builds(event_message, st.sampled_from([*KIND_OF, 0xDEAD]), st.binary()),
    st.sampled_from(
        [PROC_ACKNOWLEDGEMENT, NOOP, FOREIGN, LOSS, BARE_DONE, EXEC_WITH_16_BYTE_UNION]
    ),
    st.sampled_from([EXEC_WITH_PROGRAM, EXIT_WITH_USAGE]),
    st.builds(
        netlink_message,
        st.sampled_from([NLMSG_ERROR, NLMSG_OVERRUN]),
        st.binary(max_size=8),
    ),
)


def padded(messages: list[bytes]) -> bytes:
    return b"".join(message + bytes(-len(message) % 4) for message in messages)


@given(st.lists(events).map(padded))
def test_uniform_buffer_is_viewed_without_a_copy(buffer: bytes) -> None:
    array = as_array(buffer)

    assert decode(buffer) == events_of(array)
    assert not buffer or np.shares_memory(array, np.frombuffer(buffer, np.uint8))


@given(st.lists(events | other_messages).map(padded))
def test_mixed_buffer_has_the_same_events_as_decode(buffer: bytes) -> None:
    assert outcome(decode, buffer) == outcome(as_array, buffer)


@given(
    st.lists(events, min_size=1, max_size=4).map(padded).map(bytearray),
    st.lists(st.tuples(st.integers(0), st.integers(0, 255)), max_size=3),
)
def test_mutated_buffer_has_the_outcome_of_decode(
    buffer: bytearray, changes: list[tuple[int, int]]
) -> None:
    for at, value in changes:
        buffer[at % len(buffer)] = value

    assert outcome(decode, bytes(buffer)) == outcome(as_array, bytes(buffer))


def test_columns_have_the_names_of_the_wire_fields() -> None:
    message = bytearray(FORK)
    message[8:16] = words(10, 11)  # nlmsg_seq, nlmsg_pid
    message[24:32] = words(12, 13)  # seq, ack

    (row,) = as_array(message)

    assert (76, 3, 0, 10, 11, 1, 1, 12, 13, 40, 0, 1, 1, 5) == row.item()[:-1]
    assert words(1, 2, 3, 4, 0, 0) == row["event_data"].tobytes()


def test_rows_of_one_kind_can_be_viewed_with_its_fields() -> None:
    array = as_array(FORK + EXIT + EXIT)

    exits = array[array["what"] == EventType.EXIT].view(row_dtype(Exit))

    assert [256, 256] == exits["exit_code"].tolist()
    assert [2**63, 2**63] == exits["timestamp_ns"].tolist()


def test_array_shares_a_writable_buffer() -> None:
    buffer = bytearray(EXIT)
    exits = as_array(buffer).view(row_dtype(Exit))

    exits["exit_code"] = 9

    assert [9] == [event.exit_code for event in decode(buffer)]  # type: ignore[union-attr]


def test_array_over_bytes_is_read_only() -> None:
    array = as_array(FORK)

    with pytest.raises(ValueError, match="read-only"):
        array["cpu"] = 0


@pytest.mark.parametrize(
    "end", [PROC_ACKNOWLEDGEMENT, NOOP, FOREIGN, LOSS, BARE_DONE + b"rest"]
)
def test_other_messages_at_the_end_need_no_copy(end: bytes) -> None:
    buffer = FORK + EXIT + end

    array = as_array(buffer)

    assert np.shares_memory(array, np.frombuffer(buffer, np.uint8))
    assert decode(FORK + EXIT) == events_of(array)


@pytest.mark.parametrize("between", [PROC_ACKNOWLEDGEMENT, NOOP, FOREIGN, LOSS])
def test_other_messages_in_between_are_skipped(between: bytes) -> None:
    buffer = FORK + between + EXIT

    array = as_array(buffer)

    assert decode(FORK + EXIT) == events_of(array)
    assert not np.shares_memory(array, np.frombuffer(buffer, np.uint8))


def test_shorter_messages_are_padded_with_zeros() -> None:
    array = as_array(FORK + EXEC_WITH_16_BYTE_UNION + EXIT)

    assert [76, 68, 76] == array["nlmsg_len"].tolist()
    assert words(8, 9, 0, 0, 0, 0) == array["event_data"][1].tobytes()


def test_trailers_are_left_out() -> None:
    buffer = padded([EXEC_WITH_PROGRAM, EXIT_WITH_USAGE, FORK])
    array = as_array(buffer)

    assert (3, 76) == (len(array), array.itemsize)
    assert events_in_rows(decode(buffer)) == events_of(array)
    assert ("pid", "tgid") == row_dtype(Exec).names[-2:]  # type: ignore[index]


def test_bytes_after_the_event_data_read_as_zeros() -> None:
    older = event_message(EventType.COREDUMP, words(1, 2))
    message = netlink_message(NLMSG_DONE, older[16:] + b"\xff" * 16)

    assert words(1, 2, 0, 0, 0, 0) == as_array(message)["event_data"][0].tobytes()


def test_exception_has_the_events_before_the_failure() -> None:
    with pytest.raises(ProcConnError) as caught:
        as_array(FORK + EXIT[:75])

    assert (TruncatedError, 76) == (type(caught.value), caught.value.offset)  # type: ignore[attr-defined]
    assert decode(FORK) == caught.value.events  # type: ignore[attr-defined]


def test_empty_buffer_has_no_rows() -> None:
    assert (0,) == as_array(b"").shape


def test_noncontiguous_buffer_is_copied() -> None:
    strided = memoryview(b"".join(bytes([byte, 0]) for byte in FORK))[::2]

    assert decode(FORK) == events_of(as_array(strided))


@pytest.mark.parametrize("kind", [Lost, Unknown])
def test_classes_without_a_kernel_event_have_no_columns(kind: type[Event]) -> None:
    with pytest.raises(ValueError, match=f"kind {kind.__name__} has no columns"):
        row_dtype(kind)


@pytest.mark.parametrize("wrong", ["Exit", int, [Exit], EventType.EXIT, 0])
def test_kind_must_be_an_event_class(wrong: Any) -> None:
    with pytest.raises(TypeError, match=r"^kind must be a class of events"):
        row_dtype(wrong)


def test_argument_without_the_buffer_protocol_is_a_type_error() -> None:
    with pytest.raises(TypeError, match=r"^buffer must be bytes or another object"):
        as_array("text")  # type: ignore[arg-type]


def test_row_layout_has_no_gaps() -> None:
    for kind in (None, *KINDS):
        dtype = row_dtype(kind)
        fields = (dtype.fields or {}).values()
        begins = [field[1] for field in fields]
        ends = [field[1] + field[0].itemsize for field in fields]

        assert begins == [0, *ends[:-1]]
        assert ends[-1] <= dtype.itemsize == 76


def test_array_survives_numpy_save_and_load(tmp_path: object) -> None:
    array = as_array(FORK + EXIT)

    np.save(f"{tmp_path}/events.npy", array)

    assert array.tobytes() == np.load(f"{tmp_path}/events.npy").tobytes()


WITHOUT_NUMPY = """
import sys
sys.modules["numpy"] = None  # makes its import fail
import procconn
try:
    procconn.as_array(b"")
except ImportError as error:
    print(error)
"""


def test_error_without_numpy_says_how_to_install_it() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_NUMPY],
        capture_output=True,
        text=True,
        check=True,
    )

    assert "procconn.columns requires NumPy: pip install numpy\n" == done.stdout


def test_importing_procconn_does_not_import_numpy() -> None:
    code = "import sys, procconn; print('numpy' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )

    assert "False\n" == done.stdout
