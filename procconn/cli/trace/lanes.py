"""The layout of a timeline: processes as bars in lanes."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

from procconn.pipeline.formats import cut, ending, escaped, visible

if TYPE_CHECKING:
    from collections.abc import Iterable

UNKNOWN = "?"
_LONGEST_TEXT = 400  # characters of a command


class Lifetime(Protocol):
    """The fields of a process that a timeline shows."""

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
        lane: counted from 0 on top; no two bars of a lane overlap.
        start_ns, end_ns: since the first start, in nanoseconds.
        is_cut_before, is_cut_after: whether it started before the timeline, or ran on
            after it.
        program: the program's name.
        command: the command line, or else the name, cut if it is very long.
        ending: how it ended, such as "status 1".
        is_failure: whether that was with another status than 0, or by a signal.
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
    """Return bars in order of their start, each below its parent's, if there is one."""
    found = [*processes]
    times = [it.started_ns for it in found if it.started_ns is not None]
    times += [it.ended_ns for it in found if it.ended_ns is not None]
    first, last = min(times, default=0), max(times, default=0)
    spans = [(_span(process, first, last), process) for process in found]
    spans.sort(key=lambda it: (it[0][0], -it[0][1], it[1].pid))
    ends = _Ends(len(spans))
    lanes: dict[int, int] = {}  # by the pid that started last
    laid_out = []
    for (start_ns, end_ns), process in spans:
        above = lanes.get(process.ppid, -1) if process.ppid is not None else -1
        lane = ends.first_free(above + 1, start_ns)
        # A bar without length takes space, too.
        ends.put(lane, max(end_ns, start_ns + 1))
        lanes[process.pid] = lane
        laid_out.append(_bar(process, lane, start_ns, end_ns))
    return laid_out


class _Ends:
    """The end of the last bar of each lane, to find a free lane.

    A segment tree in a list: each node has the minimum of its children, the lanes are
    the leaves. So both methods take logarithmic time.
    """

    def __init__(self, lanes: int) -> None:
        self._leaves = 1 << lanes.bit_length()  # more than there are lanes
        self._ends = [0] * (2 * self._leaves)

    def first_free(self, lane: int, at_ns: int) -> int:
        """Return the first lane from this one on that is free at a time."""
        ends = self._ends
        node = self._leaves + lane
        while ends[node] > at_ns:
            while node & 1:  # on the right of its parent: go up
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
    command = cut(process.command or name, _LONGEST_TEXT)
    return Bar(
        process.pid,
        process.ppid,
        lane,
        start_ns,
        end_ns,
        process.started_ns is None,
        process.ended_ns is None,
        name,
        # Not `visible`: the locale may not be able to encode the text.
        cut(escaped(command), _LONGEST_TEXT),
        _ending(process),
        bool(process.returncode),
    )


def _ending(process: Lifetime) -> str:
    if process.ended_ns is None:
        return "still running"
    return format_exit(process.returncode)
