"""Raw buffers as NumPy arrays, for those who count rather than look at each event."""

from __future__ import annotations

from functools import cache

from procconn.decoder import Walk, decode
from procconn.events import KINDS, Event

TYPE_CHECKING = False
if TYPE_CHECKING:
    import numpy as np
    from _typeshed import ReadableBuffer
    from numpy.typing import NDArray

_ROW_SIZE = 76

# Name and format of what all rows have, without gaps; drawn in csrc/wire.h.
_COMMON = {
    "nlmsg_len": "u4",
    "nlmsg_type": "u2",
    "nlmsg_flags": "u2",
    "nlmsg_seq": "u4",
    "nlmsg_pid": "u4",
    "idx": "u4",
    "val": "u4",
    "seq": "u4",
    "ack": "u4",
    "len": "u2",
    "flags": "u2",
    "what": "u4",
    "cpu": "u4",
    "timestamp_ns": "u8",
}


def as_array(buffer: ReadableBuffer) -> NDArray[np.void]:
    """View a buffer of netlink messages as a structured array, a row for each event.

    A row has the fields of a message: `nlmsg_len`, `nlmsg_type`, `nlmsg_flags`,
    `nlmsg_seq`, `nlmsg_pid`, `idx`, `val`, `seq`, `ack`, `len`, `flags`, `what`, `cpu`,
    `timestamp_ns`, and `event_data`, the union as raw bytes. Rows of one kind have its
    own fields in place of the union when viewed by its `row_dtype`:

        exits = array[array["what"] == EventType.EXIT].view(row_dtype(Exit))
        exits["exit_code"]

    The array shares the memory of a buffer that begins with all its events, 76 bytes
    each, as one of `recv_raw` does unless it has an answer to a request in between.
    Otherwise it is a copy, with zeros where a message is shorter.

    Args:
        buffer: any object with the buffer protocol, in native byte order.

    Returns:
        The array, of one dimension. It can be written to if the buffer can.

    Raises:
        ImportError: NumPy is not installed.
        TruncatedError, OverrunError, OSError: as `decode` raises them.
    """
    row = row_dtype()  # first, as it says what is missing
    import numpy as np  # noqa: PLC0415 - only who calls this needs it

    view = memoryview(buffer)
    view = view if view.c_contiguous else memoryview(bytes(view))
    with Walk.over(view) as walk:
        count, in_place, failed = walk.count_rows()
    if failed:
        decode(view)  # raises, with the events before the failure
    if in_place:
        return np.ndarray(count, row, view)
    array = np.zeros(count, row)
    with Walk.over(view) as walk:
        walk.copy_rows(array.data, count)
    return array


@cache
def row_dtype(kind: type[Event] | None = None) -> np.dtype[np.void]:
    """Describe a row to NumPy: 76 bytes, an event of any kind or of one.

    Args:
        kind: the class of a kind whose own fields stand in place of the union. Its
            `comm` ends before the NULs at its end, not before the first.

    Raises:
        ImportError: NumPy is not installed.
        ValueError: the kernel has no such kind.
    """
    try:
        import numpy as np  # noqa: PLC0415 - only who calls this needs it
    except ImportError as error:
        raise ImportError("columns need NumPy: pip install numpy") from error

    fields = _COMMON | {"event_data": "V24"}
    if kind is not None:
        if kind not in KINDS:
            raise ValueError(f"{kind.__name__} has no columns of its own")
        own = [name for name in kind._fields if name not in _COMMON]
        fields = _COMMON | {name: "S16" if name == "comm" else "u4" for name in own}
    return np.dtype(
        {"names": [*fields], "formats": [*fields.values()], "itemsize": _ROW_SIZE}
    )
