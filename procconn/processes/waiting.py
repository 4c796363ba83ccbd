"""`wait` and `wait_async`: how any processes end, children or not.

The processes are looked at before subscribing, so that what is not there is told at
once, and again after it: to the table, what happened in between is like a loss.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

from procconn import _arguments
from procconn.connector import ProcConnector
from procconn.events import Event, EventMask, Exec, Exit, Fork, Lost
from procconn.processes.process import Ended, Process
from procconn.processes.resync import ChangeQueue
from procconn.processes.snapshot import (
    check_there,
    take_snapshot,
    try_snapshot,
    zombie_exit_code,
)
from procconn.processes.table import ProcessTable

MASK = EventMask.FORK | EventMask.EXEC | EventMask.EXIT


def wait(pids: Iterable[int], timeout: float | None = None) -> dict[int, Process]:
    """Wait until processes have ended, and tell how.

    They need not be children, nor this user's. A zombie, which has ended and whose
    parent has not asked how, is told of at once; its status is None where this user may
    not read it in /proc.

    Args:
        pids: the processes; an id of another thread than the first is none.
        timeout: how long to wait, in seconds; None waits for ever. Opening takes its
            own time.

    Returns:
        The processes that have ended, by pid: all of them, unless the time was up.

    Raises:
        ProcessLookupError: one of them is not there.
        PermissionError: /proc does not show one of them to this user.
        TypeError: one of them is no process id, or the timeout no time.
        ValueError: the timeout is negative, or no number.
        UnsupportedError: no events can come here; the text says why.
        OSError: as of `ProcConnector` and `take_snapshot`.
    """
    deadline = _arguments.deadline(timeout)
    awaited = Awaited(pids)
    if not awaited.pids:
        return awaited.ended
    with ProcConnector(MASK) as connector:
        awaited.look_again()
        while awaited.pids and (left := _left(deadline)) != 0:
            if awaited.is_due:
                awaited.look_again()
            awaited.take_all(connector.recv_many(awaited.patience(left)))
    return awaited.ended


async def wait_async(
    pids: Iterable[int], timeout: float | None = None
) -> dict[int, Process]:
    """Do as `wait`, on asyncio."""
    import asyncio  # noqa: PLC0415 - who awaits has it already

    deadline = _arguments.deadline(timeout)
    awaited = await asyncio.to_thread(Awaited, pids)
    if not awaited.pids:
        return awaited.ended
    async with await asyncio.to_thread(ProcConnector, MASK) as connector:
        await asyncio.to_thread(awaited.look_again)
        while awaited.pids and (left := _left(deadline)) != 0:
            if awaited.is_due:
                await asyncio.to_thread(awaited.look_again)
            awaited.take_all(await connector.arecv_many(awaited.patience(left)))
    return awaited.ended


def _left(deadline: float | None) -> float | None:
    return None if deadline is None else max(0, deadline - time.monotonic())


class Awaited(ChangeQueue):
    """The processes that are waited for, and those of them that have ended."""

    def __init__(self, pids: Iterable[int]) -> None:
        if not isinstance(pids, Iterable):
            raise TypeError(f"pids must be several, such as [{pids!r}], not {pids!r}")
        self.pids = set(pids)
        for pid in self.pids:
            if not isinstance(pid, int) or isinstance(pid, bool):
                raise TypeError(f"pids must be process ids, not {pid!r}")
        self.ended: dict[int, Process] = {}
        first = take_snapshot(self.pids)
        check_there(self.pids, {entry.pid for entry in first.processes})
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

    def look_again(self) -> None:
        """Read the processes from /proc: what came before may be incomplete."""
        self.put_snapshot(try_snapshot(pids=self.pids))

    def take_all(self, events: list[Event]) -> None:
        """Take in what was received, and the last of it for its time."""
        self.put_events([it for it in events if it is events[-1] or self._concerns(it)])
        for change in self.all_changes():
            if isinstance(change, Ended) and change.process.pid in self.pids:
                self._end(change.process)

    def _concerns(self, event: Event) -> bool:
        match event:
            case Fork(child_tgid=tgid) | Exec(tgid=tgid) | Exit(tgid=tgid):
                return tgid in self.pids
        return isinstance(event, Lost)

    def _end(self, process: Process) -> None:
        if process.returncode is None:
            _ask_proc(process)
        self.pids.discard(process.pid)
        self.ended[process.pid] = process


def _ask_proc(process: Process) -> None:
    """Take the status of a process that ended unseen from /proc, if it is a zombie."""
    for entry in take_snapshot([process.pid]).processes:
        if entry.threads or not process._is_in(entry):
            continue
        if (code := zombie_exit_code(process.pid)) is not None:
            process._set_exit_code(code)
