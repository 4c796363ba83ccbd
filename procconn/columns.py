"""Raw buffers as NumPy arrays, for aggregation without an object for each event."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from procconn._core import lib
from procconn.decoder import Walk, contiguous_view, decode
from procconn.events import KINDS, Event, Lost, Unknown

if TYPE_CHECKING:
    import numpy as np
    from _typeshed import ReadableBuffer
    from numpy.typing import NDArray

# Format and offset of the fields that all rows have.
_COMMON = {
    "nlmsg_len": ("u4", lib.NLMSG_LEN_AT),
    "nlmsg_type": ("u2", lib.NLMSG_TYPE_AT),
    "nlmsg_flags": ("u2", lib.NLMSG_FLAGS_AT),
    "nlmsg_seq": ("u4", lib.NLMSG_SEQ_AT),
    "nlmsg_pid": ("u4", lib.NLMSG_PID_AT),
    "idx": ("u4", lib.CN_MSG_IDX_AT),
    "val": ("u4", lib.CN_MSG_VAL_AT),
    "seq": ("u4", lib.CN_MSG_SEQ_AT),
    "ack": ("u4", lib.CN_MSG_ACK_AT),
    "len": ("u2", lib.CN_MSG_LEN_AT),
    "flags": ("u2", lib.CN_MSG_FLAGS_AT),
    "what": ("u4", lib.EVENT_WHAT_AT),
    "cpu": ("u4", lib.EVENT_CPU_AT),
    "timestamp_ns": ("u8", lib.EVENT_TIMESTAMP_AT),
}
_UNION = {"event_data": (f"V{lib.EVENT_DATA_SIZE}", lib.EVENT_DATA_AT)}


def as_array(buffer: ReadableBuffer) -> NDArray[np.void]:
    """Return a buffer as a structured array, with a row for each event of the kernel.

    A row has the fields of a message: `nlmsg_len`, `nlmsg_type`, `nlmsg_flags`,
    `nlmsg_seq`, `nlmsg_pid`, `idx`, `val`, `seq`, `ack`, `len`, `flags`, `what`, `cpu`,
    `timestamp_ns`, and `event_data`, the union as raw bytes. To get the fields of one
    kind of event instead of the union, view its rows with its `row_dtype`:

        exits = array[array["what"] == EventType.EXIT].view(row_dtype(Exit))
        exits["exit_code"]

    `Lost`, programs and usage are not in the array. It shares memory with the buffer
    if all events are at its beginning, 76 bytes each. That holds for the result of
    `recv_raw` unless acknowledgements or messages of the library are in between.
    Otherwise the array is a copy, with zeros where a message is shorter.

    Args:
        buffer: any object with the buffer protocol, in native byte order.

    Returns:
        The array, one-dimensional. It is writable if it shares a writable buffer.

    Raises:
        ImportError: NumPy is not installed.
        TypeError: `buffer` does not have the buffer protocol.
        TruncatedError, OverrunError, OSError: as in `decode`.
    """
    row = row_dtype()  # first: it raises if NumPy is not installed
    import numpy as np  # noqa: PLC0415 - NumPy is optional

    view = contiguous_view(buffer)
    with Walk(view) as walk:
        count, in_place, failed = walk.count_rows()
    if failed:
        decode(view)  # raises, with the events before the failure
    if in_place:
        return np.ndarray(count, row, view)
    array = np.zeros(count, row)
    with Walk(view) as walk:
        walk.copy_rows(array.data, count)
    return array


def row_dtype(kind: type[Event] | None = None) -> np.dtype[np.void]:
    """Return the dtype of a row of 76 bytes, for one kind of event or for any.

    Args:
        kind: the class of the kind whose fields replace the union. NumPy strips
            trailing NULs from `comm`, but does not stop at the first one.

    Raises:
        ImportError: NumPy is not installed.
        TypeError: `kind` is not a class of events.
        ValueError: the kernel does not report that kind.
    """
    if kind in (Unknown, Lost):
        raise ValueError(f"kind {kind.__name__} has no columns")
    if kind is not None and kind not in KINDS:
        raise TypeError(f"kind must be a class of events, such as Exit, not {kind!r}")
    return _row_dtype(kind)  # type: ignore[arg-type] # mypy looks at Exit.__hash__


@cache
def _row_dtype(kind: type[Event] | None) -> np.dtype[np.void]:
    try:
        import numpy as np  # noqa: PLC0415 - NumPy is optional
    except ImportError as error:
        raise ImportError(
            "procconn.columns requires NumPy: pip install numpy"
        ) from error

    fields = _COMMON | (_UNION if kind is None else _union_fields(kind))
    formats, offsets = zip(*fields.values(), strict=True)
    return np.dtype(
        {
            "names": [*fields],
            "formats": formats,
            "offsets": offsets,
            "itemsize": lib.MESSAGE_SIZE,
        }
    )


def _union_fields(kind: type[Event]) -> dict[str, tuple[str, int]]:
    """Return format and offset of the fields in the union: words, and COMM's name."""
    attached = kind._field_defaults  # by the library, in a trailer
    own = [
        name for name in kind._fields if name not in _COMMON and name not in attached
    ]
    return {
        name: (
            f"S{lib.COMM_NAME_SIZE}" if name == "comm" else "u4",
            lib.EVENT_DATA_AT + index * lib.WORD_SIZE,
        )
        for index, name in enumerate(own)
    }
