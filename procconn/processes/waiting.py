"""`wait` and `wait_async`: how any processes end, children or not.

/proc is read before subscribing, so that a PID without a process is reported at once,
and again after it: for the table, what happened in between is like a loss.

`Awaited.steps` is the one loop. It does no I/O: `each_end` does it for `wait` and the
command, `wait_async` on asyncio.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from procconn import _arguments
from procconn.connector import ProcConnector
from procconn.events import Event, EventMask, Exec, Exit, Fork, Lost
from procconn.processes.process import Ended, Process
from procconn.processes.resync import ChangeQueue
from procconn.processes.snapshot import (
    check_exist,
    take_snapshot,
    try_snapshot,
    zombie_exit_code,
)
from procconn.processes.table import ProcessTable

if TYPE_CHECKING:
    from collections.abc import Iterator

_MASK = EventMask.FORK | EventMask.EXEC | EventMask.EXIT


def wait(pids: Iterable[int], timeout: float | None = None) -> dict[int, Process]:
    """Wait until processes have ended, and return how.

    They need not be children, nor this user's. A zombie, which has ended and was not
    reaped by its parent, is returned at once; its status is None where this user may
    not read it in /proc.

    Args:
        pids: the processes; the ID of another thread than the main one is none.
        timeout: how long to wait, in seconds; None waits for ever. Opening takes its
            own time.

    Returns:
        The processes that have ended, by PID: all of them, unless the time was up.

    Raises:
        ProcessLookupError: one of them does not exist.
        PermissionError: /proc does not show one of them to this user.
        TypeError: one of them is no process ID, or the timeout no number.
        ValueError: the timeout is negative, or not finite.
        UnsupportedError: no events can be received here; the text says why.
        OSError: as of `ProcConnector` and `take_snapshot`.
    """
    deadline = _arguments.deadline(timeout)
    return {it.pid: it for it in each_end(Awaited(pids), deadline)}


async def wait_async(
    pids: Iterable[int], timeout: float | None = None
) -> dict[int, Process]:
    """Wait as `wait` does, on asyncio."""
    import asyncio  # noqa: PLC0415 - who awaits has it already

    deadline = _arguments.deadline(timeout)
    awaited = await asyncio.to_thread(Awaited, pids)
    ended = awaited.take_ended()
    if awaited.pids:
        async with await asyncio.to_thread(ProcConnector, _MASK) as connector:
            for step in awaited.steps(deadline):
                if step.reads_proc:
                    await asyncio.to_thread(awaited.read_proc)
                else:
                    awaited.put_received(await connector.arecv_many(step.timeout))
                ended += awaited.take_ended()
    return {it.pid: it for it in ended}


def each_end(
    awaited: Awaited, deadline: float | None, *, programs: bool = False
) -> Iterator[Process]:
    """Wait; yield processes as they end, first those that had ended before.

    Args:
        awaited: the processes.
        deadline: when to stop waiting, by `time.monotonic`; None waits for ever.
        programs: whether to read what they execute meanwhile.
    """
    yield from awaited.take_ended()
    if not awaited.pids:
        return
    with ProcConnector(_MASK, programs=programs) as connector:
        for step in awaited.steps(deadline):
            if step.reads_proc:
                awaited.read_proc()
            else:
                awaited.put_received(connector.recv_many(step.timeout))
            yield from awaited.take_ended()


class Step(NamedTuple):
    """What to do next: read /proc, or else receive events, for `timeout` seconds."""

    reads_proc: bool
    timeout: float | None = None


class Awaited(ChangeQueue):
    """Processes that are waited for.

    Attributes:
        pids: those that have not ended yet.
    """

    def __init__(self, pids: Iterable[int]) -> None:
        if not isinstance(pids, Iterable):
            raise TypeError(
                f"pids must be an iterable of process IDs, such as [4711], not {pids!r}"
            )
        self.pids = set(pids)
        for pid in self.pids:
            if not isinstance(pid, int) or isinstance(pid, bool):
                raise TypeError(f"pids must be process IDs, not {pid!r}")
        self._ended: list[Process] = []
        first = take_snapshot(self.pids)
        check_exist(self.pids, {entry.pid for entry in first.processes})
        super().__init__(ProcessTable(), first)
        for entry in first.processes:
            if not entry.threads:
                process = Process(
                    entry.pid,
                    entry.ppid,
                    None,
                    name=entry.name,
                    started_ns=entry.started_ns,
                    known_since="snapshot",
                )
                process.ended_ns = entry.before_ns
                self._end(process)
        self.table.feed(Lost(0, first.after_ns))

    def steps(self, deadline: float | None) -> Iterator[Step]:
        """Yield what to do next, until all have ended or the deadline has passed."""
        yield Step(reads_proc=True)
        while self.pids and (left := _left(deadline)) != 0:
            if self.is_due:
                yield Step(reads_proc=True)
            yield Step(reads_proc=False, timeout=self.patience(left))

    def read_proc(self) -> None:
        """Take a snapshot of the processes, as events may have been lost before."""
        self.put_snapshot(try_snapshot(pids=self.pids))

    def put_received(self, events: list[Event]) -> None:
        """Process received events: those of the processes, and the last for its time.

        An empty list means that the stream is silent.
        """
        self.put_events([it for it in events if it is events[-1] or self._concerns(it)])
        for change in self.all_changes():
            if isinstance(change, Ended) and change.process.pid in self.pids:
                self._end(change.process)

    def take_ended(self) -> list[Process]:
        """Return those that have ended since the last call, in that order."""
        ended = sorted(self._ended, key=lambda it: it.ended_ns or 0)
        self._ended.clear()
        return ended

    def _concerns(self, event: Event) -> bool:
        match event:
            case Fork(child_tgid=tgid) | Exec(tgid=tgid) | Exit(tgid=tgid):
                return tgid in self.pids
        return isinstance(event, Lost)

    def _end(self, process: Process) -> None:
        if process.returncode is None:
            _read_exit_code(process)
        self.pids.discard(process.pid)
        self._ended.append(process)


def _left(deadline: float | None) -> float | None:
    return None if deadline is None else max(0, deadline - time.monotonic())


def _read_exit_code(process: Process) -> None:
    """Read the status of a process that has ended from /proc, if it is a zombie."""
    for entry in take_snapshot([process.pid]).processes:
        if entry.threads or not process._is_in(entry):
            continue
        if (code := zombie_exit_code(process.pid)) is not None:
            process._set_exit_code(code)
