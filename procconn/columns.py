"""Raw buffers as NumPy arrays, for those who count rather than look at each event."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from procconn._core import lib
from procconn.decoder import Walk, contiguous, decode
from procconn.events import KINDS, Event, Lost, Unknown

if TYPE_CHECKING:
    import numpy as np
    from _typeshed import ReadableBuffer
    from numpy.typing import NDArray

# What all rows have: each field's format and place.
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
    """View a buffer as a structured array, a row for each event of the kernel.

    A row has the fields of a message: `nlmsg_len`, `nlmsg_type`, `nlmsg_flags`,
    `nlmsg_seq`, `nlmsg_pid`, `idx`, `val`, `seq`, `ack`, `len`, `flags`, `what`, `cpu`,
    `timestamp_ns`, and `event_data`, the union as raw bytes. Rows of one kind have its
    own fields in place of the union when viewed by its `row_dtype`:

        exits = array[array["what"] == EventType.EXIT].view(row_dtype(Exit))
        exits["exit_code"]

    `Lost` has no row, and what the library attaches to an event no column. The array
    shares the memory of a buffer that begins with all its events, 76 bytes each, as one
    of `recv_raw` does unless something of the library's, or an acknowledgement, is
    in between. Otherwise it is a copy, with zeros where a message is shorter.

    Args:
        buffer: any object with the buffer protocol, in native byte order.

    Returns:
        The array, of one dimension. It can be written to if the buffer can.

    Raises:
        ImportError: NumPy is not installed.
        TypeError: `buffer` does not have the buffer protocol.
        TruncatedError, OverrunError, OSError: as `decode` raises them.
    """
    row = row_dtype()  # first, as it says what is missing
    import numpy as np  # noqa: PLC0415 - only who calls this needs it

    view = contiguous(buffer)
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
    """Describe a row to NumPy: 76 bytes, an event of any kind or of one.

    Args:
        kind: the class of a kind whose own fields stand in place of the union. Its
            `comm` ends before the NULs at its end, not before the first.

    Raises:
        ImportError: NumPy is not installed.
        TypeError: `kind` is no class of events.
        ValueError: the kernel has no such kind.
    """
    if kind in (Unknown, Lost):
        raise ValueError(f"kind {kind.__name__} has no columns of its own")
    if kind is not None and kind not in KINDS:
        raise TypeError(f"kind must be a class of events, such as Exit, not {kind!r}")
    return _row_dtype(kind)  # type: ignore[arg-type] # mypy looks at Exit.__hash__


@cache
def _row_dtype(kind: type[Event] | None) -> np.dtype[np.void]:
    try:
        import numpy as np  # noqa: PLC0415 - only who calls this needs it
    except ImportError as error:
        raise ImportError("columns need NumPy: pip install numpy") from error

    fields = _COMMON | (_UNION if kind is None else _own_fields(kind))
    formats, offsets = zip(*fields.values(), strict=True)
    return np.dtype(
        {
            "names": [*fields],
            "formats": formats,
            "offsets": offsets,
            "itemsize": lib.MESSAGE_SIZE,
        }
    )


def _own_fields(kind: type[Event]) -> dict[str, tuple[str, int]]:
    """Place what the kind has in the union: words, of which a name may be the last."""
    tails = kind._field_defaults  # what the library attaches may be absent
    own = [name for name in kind._fields if name not in _COMMON and name not in tails]
    return {
        name: (
            f"S{lib.COMM_NAME_SIZE}" if name == "comm" else "u4",
            lib.EVENT_DATA_AT + index * lib.WORD_SIZE,
        )
        for index, name in enumerate(own)
    }
