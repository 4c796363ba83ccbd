"""`wait` and `wait_async`: wait for any processes, children or not.

/proc is read before subscribing, so that an error for a missing process is raised at
once, and again after it, as after a loss, for exits in between.

`Waiter.steps` is the loop, without I/O. `iter_ended` does the I/O for `wait` and the
command, `wait_async` does it on asyncio.
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
    """Wait until all given processes have ended.

    They need not be children, or belong to this user. A zombie, which has ended and was
    not reaped by its parent, is returned at once; its `returncode` is None if this user
    may not read it in /proc.

    Args:
        pids: the process IDs; the ID of a thread other than the main thread is an
            error.
        timeout: how long to wait, in seconds; None waits without limit. The time to
            open a connector does not count.

    Returns:
        The processes that have ended, by PID: all of them, except on timeout.

    Raises:
        ProcessLookupError: a process does not exist.
        PermissionError: /proc does not show a process to this user.
        TypeError: `pids` or `timeout` is of the wrong type.
        ValueError: the timeout is negative or not finite.
        UnsupportedError: this environment cannot deliver events; the text says why.
        OSError: as in `ProcConnector` and `take_snapshot`.
    """
    deadline = _arguments.deadline(timeout)
    return {it.pid: it for it in iter_ended(Waiter(pids), deadline)}


async def wait_async(
    pids: Iterable[int], timeout: float | None = None
) -> dict[int, Process]:
    """Wait until all given processes have ended, like `wait`, on asyncio."""
    import asyncio  # noqa: PLC0415 - imported by callers of async functions anyway

    deadline = _arguments.deadline(timeout)
    waiter = await asyncio.to_thread(Waiter, pids)
    ended = waiter.take_ended()
    if waiter.pids:
        async with await asyncio.to_thread(ProcConnector, _MASK) as connector:
            for step in waiter.steps(deadline):
                if step.reads_proc:
                    await asyncio.to_thread(waiter.read_proc)
                else:
                    waiter.put_received(await connector.arecv_many(step.timeout))
                ended += waiter.take_ended()
    return {it.pid: it for it in ended}


def iter_ended(
    waiter: Waiter, deadline: float | None, *, programs: bool = False
) -> Iterator[Process]:
    """Yield processes as they end, first those that have already ended.

    Args:
        waiter: the processes to wait for.
        deadline: when to stop, on `time.monotonic`; None waits without limit.
        programs: whether to read the programs that they execute meanwhile.
    """
    yield from waiter.take_ended()
    if not waiter.pids:
        return
    with ProcConnector(_MASK, programs=programs) as connector:
        for step in waiter.steps(deadline):
            if step.reads_proc:
                waiter.read_proc()
            else:
                waiter.put_received(connector.recv_many(step.timeout))
            yield from waiter.take_ended()


class Step(NamedTuple):
    """The next I/O: read /proc, or receive events for at most `timeout` seconds."""

    reads_proc: bool
    timeout: float | None = None


class Waiter(ChangeQueue):
    """The state of a wait for processes.

    Attributes:
        pids: the processes that have not ended yet.
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
        initial = take_snapshot(self.pids)
        check_exist(self.pids, {entry.pid for entry in initial.processes})
        super().__init__(ProcessTable(), initial)
        for entry in initial.processes:
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
        self.table.feed(Lost(0, initial.after_ns))

    def steps(self, deadline: float | None) -> Iterator[Step]:
        """Yield the next step, until all have ended or the deadline has passed."""
        yield Step(reads_proc=True)
        while self.pids and (remaining := _remaining(deadline)) != 0:
            if self.is_due:
                yield Step(reads_proc=True)
            yield Step(reads_proc=False, timeout=self.next_timeout(remaining))

    def read_proc(self) -> None:
        """Take a snapshot of the processes, as events may have been lost before."""
        self.put_snapshot(try_snapshot(pids=self.pids))

    def put_received(self, events: list[Event]) -> None:
        """Process received events of the processes, and the last one for its time.

        An empty list means that the stream is idle.
        """
        self.put_events([it for it in events if it is events[-1] or self._concerns(it)])
        for change in self.all_changes():
            if isinstance(change, Ended) and change.process.pid in self.pids:
                self._end(change.process)

    def take_ended(self) -> list[Process]:
        """Return the processes that ended since the last call, in order."""
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


def _remaining(deadline: float | None) -> float | None:
    return None if deadline is None else max(0, deadline - time.monotonic())


def _read_exit_code(process: Process) -> None:
    """Read the exit status of an ended process from /proc, if it is a zombie."""
    for entry in take_snapshot([process.pid]).processes:
        if entry.threads or not process._is_in(entry):
            continue
        if (code := zombie_exit_code(process.pid)) is not None:
            process._set_exit_code(code)
