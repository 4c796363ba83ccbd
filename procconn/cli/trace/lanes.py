"""The layout of a timeline: processes as bars in lanes."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

from procconn.pipeline.formats import cut, escaped, format_exit, visible

if TYPE_CHECKING:
    from collections.abc import Iterable

UNKNOWN = "?"
_MAX_COMMAND = 400  # characters


class Lifetime(Protocol):
    """The fields of a process that a timeline needs."""

    @property
    def pid(self) -> int: ...  # noqa: D102
    @property
    def ppid(self) -> int | None: ...  # noqa: D102
    @property
    def name(self) -> str | None: ...  # noqa: D102
    @property
    def command(self) -> str | None: ...  # noqa: D102
    @property
    def started_ns(self) -> int | None: ...  # noqa: D102
    @property
    def ended_ns(self) -> int | None: ...  # noqa: D102
    @property
    def returncode(self) -> int | None: ...  # noqa: D102


class Bar(NamedTuple):
    """A process in a timeline.

    Attributes:
        lane: row, counted from 0 at the top; bars of a lane do not overlap.
        start_ns, end_ns: nanoseconds since the first start.
        is_cut_before, is_cut_after: whether the process started before the timeline,
            or still ran at its end.
        program: the program's name.
        command: the command line, or the name if that is unknown; cut if very long.
        ending: how it ended, such as "status 1".
        is_failure: whether it ended with a nonzero status or by a signal.
    """

    pid: int
    ppid: int | None
    lane: int
    start_ns: int
    end_ns: int
    is_cut_before: bool
    is_cut_after: bool
    program: str
    command: str
    ending: str
    is_failure: bool


def bars(processes: Iterable[Lifetime]) -> list[Bar]:
    """Return bars in order of their start, each in a lane below its parent's."""
    found = [*processes]
    times = [it.started_ns for it in found if it.started_ns is not None]
    times += [it.ended_ns for it in found if it.ended_ns is not None]
    first, last = min(times, default=0), max(times, default=0)
    spans = [(_span(process, first, last), process) for process in found]
    spans.sort(key=lambda it: (it[0][0], -it[0][1], it[1].pid))
    ends = _Ends(len(spans))
    lanes: dict[int, int] = {}  # by PID; of the last process if PIDs are reused
    laid_out = []
    for (start_ns, end_ns), process in spans:
        above = lanes.get(process.ppid, -1) if process.ppid is not None else -1
        lane = ends.first_free(above + 1, start_ns)
        # Bars of length 0 must not overlap either.
        ends.put(lane, max(end_ns, start_ns + 1))
        lanes[process.pid] = lane
        laid_out.append(_bar(process, lane, start_ns, end_ns))
    return laid_out


class _Ends:
    """The end of the last bar of each lane, to find a free lane.

    A segment tree in a list: lanes are the leaves, and each node has the minimum of its
    children. Both methods take logarithmic time.
    """

    def __init__(self, lanes: int) -> None:
        self._leaves = 1 << lanes.bit_length()  # more than the lanes
        self._ends = [0] * (2 * self._leaves)

    def first_free(self, lane: int, at_ns: int) -> int:
        """Return the first lane, `lane` or below it, that is free at a time."""
        ends = self._ends
        node = self._leaves + lane
        while ends[node] > at_ns:
            while node & 1:  # a right child: go up
                node >>= 1
            node += 1
        while node < self._leaves:
            node *= 2
            node += ends[node] > at_ns
        return node - self._leaves

    def put(self, lane: int, end_ns: int) -> None:
        """Set the end of the last bar of a lane."""
        ends = self._ends
        node = self._leaves + lane
        ends[node] = end_ns
        while node > 1:
            node >>= 1
            ends[node] = min(ends[2 * node], ends[2 * node + 1])


def _span(process: Lifetime, first: int, last: int) -> tuple[int, int]:
    start = first if process.started_ns is None else process.started_ns
    end = last if process.ended_ns is None else process.ended_ns
    return start - first, max(start, end) - first


def _bar(process: Lifetime, lane: int, start_ns: int, end_ns: int) -> Bar:
    name = visible(process.name or UNKNOWN)
    command = cut(process.command or name, _MAX_COMMAND)
    return Bar(
        process.pid,
        process.ppid,
        lane,
        start_ns,
        end_ns,
        process.started_ns is None,
        process.ended_ns is None,
        name,
        # Not `visible`, as the locale may be unable to encode the text.
        cut(escaped(command), _MAX_COMMAND),
        _ending(process),
        bool(process.returncode),
    )


def _ending(process: Lifetime) -> str:
    if process.ended_ns is None:
        return "still running"
    return format_exit(process.returncode)
