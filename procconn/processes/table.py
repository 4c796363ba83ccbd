"""`ProcessTable`: events in, changes out.

A process runs as long as any of its threads, so the table keeps the thread IDs of each
process. A PID is in the `State` of its process. It is UNKNOWN without a process, and
REUSED if the next process with it started before the exit of the last was reported.

| state       | event                              | next state  | change            |
|-------------|------------------------------------|-------------|-------------------|
| UNKNOWN     | fork                               | SINGLE      | Started           |
| UNKNOWN     | exec                               | SINGLE      | Executed (1)      |
| UNKNOWN     | snapshot: it runs                  | as shown    | Started (2)       |
| any known   | exec                               | SINGLE      | Executed          |
| any known   | fork of a thread                   | THREADED    |                   |
| SINGLE      | exit of another thread             | SINGLE      |                   |
| THREADED    | exit of a thread, others run       | THREADED    |                   |
| certain     | exit of the last thread            | UNKNOWN     | Ended             |
| ambiguous   | exit of the last thread            | UNCONFIRMED |                   |
| ambiguous   | snapshot: gone, after an exit      | UNKNOWN     | Ended             |
| UNCONFIRMED | no snapshot will follow            | UNKNOWN     | Ended             |
| any known   | snapshot: it runs                  | as shown    |                   |
| any known   | snapshot: gone                     | UNKNOWN     | Ended (3)         |
| any known   | snapshot: started later            | as shown    | Ended (3) Started |
| observed    | fork of the same PID               | REUSED      | Started           |
| otherwise   | fork of the same PID               | SINGLE      | Ended (3) Started |
| otherwise   | its own fork                       | as before   | Started (4)       |
| REUSED      | exit of the main thread            | as before   | Ended             |
| REUSED      | exit of the main thread, too late  | UNKNOWN     | Ended (3) Ended   |

(1) After `Started`, if a `Lost` shows that the fork was dropped. (2) Not for the first
snapshot. (3) The exit was not observed. (4) If the start was not reported yet.

An exec leaves one thread, which then has the PID of the process. If a thread other than
the main thread calls it, an `Exit` with that PID precedes the `Exec`, while the caller
still has its own ID. The exits of other threads may follow the `Exec`.

A process is ambiguous if it is older than the last `Lost` and no snapshot has followed,
as it may have unknown threads; otherwise it is certain. In a table without snapshots
every process is certain. A process is observed if its fork was reported and nothing was
lost since. do_exit() reports an exit after the parent may have reaped the process, so
its PID may be reused by then.

The stream of events reaches the time of a snapshot before or after the snapshot is
applied. If before, the journal, which has the events since the beginning or the last
`Lost`, brings the snapshot's entries up to date. If after, events from before an entry
was read do not change its process. The table assumes that a PID of a snapshot is not
reused within `SLACK_NS`.
"""

from __future__ import annotations

from collections import deque
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeAlias

from procconn.events import Comm, Event, Exec, Exit, Fork, Lost, Uid
from procconn.processes.descent import descendants_among
from procconn.processes.journal import JournalEntry, by_pid, updated
from procconn.processes.process import Change, Ended, Executed, Process, Started
from procconn.processes.record import SLACK_NS, State, is_other_program

if TYPE_CHECKING:
    from collections.abc import Mapping

    from procconn.processes.snapshot import Snapshot, SnapshotEntry

    _Unknown: TypeAlias = dict[int, tuple[SnapshotEntry, set[int]]]

_MAX_JOURNAL = 20_000  # events; only those since a snapshot began are needed


class ProcessTable:
    """The running processes, according to events and snapshots.

    Args:
        tree: keep only the process with this PID and its descendants, even if their
            parents end. With CLONE_PARENT, a new process is a child of its parent, not
            of the process that called clone.
    """

    def __init__(self, *, tree: int | None = None) -> None:
        self._processes: dict[int, Process] = {}
        self._reused: dict[int, Process] = {}  # processes whose PID was reused
        self._keeps_all = tree is None
        self._root = tree  # None once it was found
        self._journal: deque[JournalEntry] | None = deque(maxlen=_MAX_JOURNAL)
        self._has_snapshot = False
        self._epoch = 0  # the number of `Lost` so far
        self._ended: list[Process] = []  # by the last event
        self._absent_ns: dict[int, int] = {}  # when a snapshot lacked a known PID

    @property
    def processes(self) -> Mapping[int, Process]:
        """The running processes by PID: a view that follows the table."""
        return MappingProxyType(self._processes)

    def feed(self, event: Event) -> list[Change]:
        """Process the next event of the stream.

        Returns:
            The changes, including the event itself if it is a `Lost`.
        """
        if self._ended:
            self._release_parents()
        if isinstance(event, Fork):
            return self._fork(event)
        if isinstance(event, Exit):
            if event.tgid in self._reused and event.pid == event.tgid:
                return self._exit_reused(event)
            return self._exit(event)
        if isinstance(event, Exec):
            return self._exec(event)
        if isinstance(event, (Comm, Uid)):
            self._set_name_or_ids(event)
        elif isinstance(event, Lost):
            self._epoch += 1
            if self._journal is None:
                self._journal = deque(maxlen=_MAX_JOURNAL)
            return [event]
        return []

    def resync(self, snapshot: Snapshot, *, is_newest: bool = True) -> list[Change]:
        """Apply a snapshot: at the beginning, and after each `Lost`.

        The first snapshot reports no `Started`: its processes are in `processes`.

        Args:
            snapshot: the snapshot.
            is_newest: whether no `Lost` was fed since it was taken. Otherwise another
                snapshot must follow, as the lost events may be newer than this one.

        Returns:
            `Ended` and `Started` of processes whose exit or fork was not observed.
        """
        self._release_parents()
        journal = by_pid(self._journal or ())
        changes: list[Change] = []
        self._absent_ns.clear()
        unknown: _Unknown = {}
        running = set()
        for entry in snapshot.processes:
            process = self._processes.get(entry.pid)
            if entry.started_ns is None or (
                process is not None and process._record.known_ns > entry.after_ns
            ):
                running.add(entry.pid)  # the entry has nothing newer
                continue
            if process is not None and not process._is_in(entry):
                record = process._record
                if record.end_ns > entry.started_ns:
                    record.threads = None  # the exit was that of the later process
                    record.forget_end()
                changes.append(self._end_absent(process, entry.before_ns))
                process = None
            newer, threads = updated(entry, journal.get(entry.pid, []))
            if threads and process is None:
                unknown[entry.pid] = newer, threads
            elif threads and process is not None:
                running.add(entry.pid)
                process._update(newer, threads)
            elif process is not None and entry.threads and not is_newest:
                running.add(entry.pid)  # it may have forked a thread during the loss
                process._record.threads = threads
        for pid, process in list(self._processes.items()):
            if pid not in running and process._record.known_ns < snapshot.before_ns:
                changes.append(self._end_absent(process, snapshot.before_ns))
                self._absent_ns[pid] = snapshot.after_ns
        changes += self._add_unknown(unknown, self._epoch - (not is_newest))
        if is_newest:
            self._journal = None
        self._has_snapshot = True
        return changes

    def end_unconfirmed(self) -> list[Change]:
        """End the UNCONFIRMED processes, as no snapshot will follow.

        Returns:
            The changes.
        """
        return [
            self._end(process, process._record.end_ns)
            for process in list(self._processes.values())
            if process._record.state is State.UNCONFIRMED
        ]

    def is_ambiguous(self, process: Process) -> bool:
        """Return whether a process may have unknown threads, after a `Lost`.

        If so, the next snapshot shows whether an exit ended it.
        """
        is_older_than_a_loss = process._record.epoch != self._epoch
        return is_older_than_a_loss and self._has_snapshot and self._journal is not None

    def _fork(self, event: Fork) -> list[Change]:
        _, parent_tgid, pid, tgid, timestamp_ns, _ = event
        if self._journal is not None:
            self._journal.append(JournalEntry(tgid, pid, Fork, timestamp_ns))
        known = self._processes.get(tgid)
        if pid != tgid:
            if known is not None and timestamp_ns >= known._record.read_ns:
                known._record.add_thread(pid, tgid)
            return []
        changes: list[Change] = []
        parent = self._processes.get(parent_tgid)
        if parent is not None and parent._record.known_ns > timestamp_ns + SLACK_NS:
            parent = None  # an earlier process had that PID at the fork
        reused = None
        if known is not None:
            known_ns = known._record.known_ns
            if timestamp_ns < known_ns - SLACK_NS:
                return []  # the fork of an earlier process with this PID
            if known.known_since == "start" and known._record.epoch == self._epoch:
                reused = known
            elif timestamp_ns <= known_ns + SLACK_NS:
                return self._set_start(known, event, parent)
            else:
                changes.append(self._end_absent(known, timestamp_ns))
        if parent is None and parent_tgid != self._root and not self._is_kept(tgid):
            return changes
        process = Process(
            pid, parent_tgid, parent, started_ns=timestamp_ns, known_since="start"
        )
        process._inherit(parent, event)
        process._record.epoch = self._epoch
        process._record.is_reported = True
        self._processes[pid] = process
        if reused is not None:
            self._reused[pid] = reused
        changes.append(Started(process, timestamp_ns))
        return changes

    def _exec(self, event: Exec) -> list[Change]:
        pid, tgid, timestamp_ns = event.pid, event.tgid, event.timestamp_ns
        if self._journal is not None:
            self._journal.append(JournalEntry(tgid, pid, Exec, timestamp_ns))
        program = event.program
        changes: list[Change] = []
        process = self._processes.get(tgid)
        if process is None:
            is_old = timestamp_ns < self._absent_ns.get(tgid, 0)
            if is_old or not self._is_kept(tgid):
                return []
            ppid = None if program is None else program.ppid
            process = Process(tgid, ppid, None, started_ns=None, known_since="snapshot")
            process._record.known_ns = timestamp_ns
            process._record.epoch = self._epoch
            self._processes[tgid] = process
            if self._has_snapshot and self._journal is not None:  # its fork was lost
                process._record.is_reported = True
                changes.append(Started(process, timestamp_ns))
        record = process._record
        if timestamp_ns < record.known_ns - SLACK_NS:
            return []  # the exec of an earlier process with this PID
        if timestamp_ns >= record.read_ns:
            record.threads = None
            record.forget_status()
            process.program = program
            process.name = None if program is None else program.name
            process.is_kernel_thread = False
            if program is not None and program.euid is not None:
                process.uid, process.euid = program.uid, program.euid
        elif (known := process.program) is None or (
            program is not None and not is_other_program(known, program)
        ):
            process.program = program  # read closer to the exec than the snapshot
        record.executed_ns = timestamp_ns
        changes.append(Executed(process, program, timestamp_ns))
        return changes

    def _exit(self, event: Exit) -> list[Change]:
        pid, tgid, timestamp_ns = event.pid, event.tgid, event.timestamp_ns
        if self._journal is not None:
            self._journal.append(JournalEntry(tgid, pid, Exit, timestamp_ns))
        process = self._processes.get(tgid)
        if process is None or timestamp_ns < process._record.read_ns:
            return []
        record = process._record
        record.add_exit(event)
        if pid == tgid and timestamp_ns < record.executed_ns:
            record.forget_status()  # the caller of exec has become the main thread
            return []
        if record.threads is not None:
            record.threads.discard(pid)
        elif pid != tgid:
            record.forget_status()  # an exec ended that thread
            return []
        is_ambiguous = self.is_ambiguous(process)
        if is_ambiguous:
            record.note_end(timestamp_ns, self._epoch)
        if record.threads:
            return []
        if is_ambiguous:
            record.threads = set()
            return []
        return [self._end(process, timestamp_ns)]

    def _exit_reused(self, event: Exit) -> list[Change]:
        """End a process whose PID was reused before its exit was reported."""
        first = self._reused.pop(event.tgid)
        second_ns = self._processes[event.tgid]._record.known_ns
        if event.timestamp_ns <= second_ns + SLACK_NS:
            first._record.add_exit(event)
            return [self._end(first, event.timestamp_ns)]
        return [self._end_absent(first, second_ns), *self._exit(event)]

    def _set_name_or_ids(self, event: Comm | Uid) -> None:
        """Set the name or user IDs of a process, if the event is of its main thread."""
        if event.pid != event.tgid:
            return
        kind, tgid, timestamp_ns = type(event), event.tgid, event.timestamp_ns
        if self._journal is not None:
            self._journal.append(JournalEntry(tgid, tgid, kind, timestamp_ns))
        process = self._processes.get(tgid)
        if process is None or timestamp_ns < process._record.read_ns:
            return
        if isinstance(event, Comm):
            process.name = event.name
        else:
            process.uid, process.euid = event.ruid, event.euid

    def _set_start(
        self, process: Process, event: Fork, parent: Process | None
    ) -> list[Change]:
        """Set the start of a known process from its fork."""
        record = process._record
        process.started_ns = record.known_ns = event.timestamp_ns
        process.ppid, process.parent = event.parent_tgid, parent
        process.known_since = "start"
        if record.is_reported:
            return []
        record.is_reported = True
        return [Started(process, event.timestamp_ns)]

    def _end(self, process: Process, timestamp_ns: int) -> Ended:
        pid, record = process.pid, process._record
        if self._processes[pid] is process:  # else its PID was reused
            del self._processes[pid]
            if self._reused:
                self._reused.pop(pid, None)
        if record.exits is not None:
            record.exits.close(is_complete=record.epoch == self._epoch)
        process.ended_ns = timestamp_ns
        record.threads = None
        self._ended.append(process)
        return Ended(process, timestamp_ns)

    def _end_absent(self, process: Process, timestamp_ns: int) -> Ended:
        """End a process that is gone, whether its exit was observed or not.

        An exit since the last loss was its end, even if the table still has threads of
        it whose exits were lost.
        """
        record = process._record
        if record.state is State.UNCONFIRMED or record.end_epoch == self._epoch:
            return self._end(process, record.end_ns)
        record.exits = None
        return self._end(process, timestamp_ns)

    def _release_parents(self) -> None:
        for process in self._ended:
            process.parent = None
        self._ended.clear()

    def _is_kept(self, pid: int) -> bool:
        """Return whether to keep a process whose parent is not in the table."""
        if self._keeps_all:
            return True
        if pid == self._root:
            self._root = None
            return True
        return False

    def _add_unknown(self, unknown: _Unknown, epoch: int) -> list[Change]:
        """Add the processes of a snapshot that the table does not know."""
        kept = list(unknown)
        if not self._keeps_all:
            tree = descendants_among(unknown, self._processes, self._root)
            kept = [pid for pid in unknown if pid in tree]
        changes: list[Change] = []
        for pid in kept:
            entry, threads = unknown[pid]
            process = Process(
                pid,
                entry.ppid,
                None,
                started_ns=entry.started_ns,
                known_since="snapshot",
            )
            process._record.epoch = epoch
            process._record.is_reported = self._has_snapshot
            process._update(entry, threads)
            self._processes[pid] = process
            if self._has_snapshot:
                changes.append(Started(process, process._record.known_ns))
        for pid in kept:
            process = self._processes[pid]
            if process.ppid is not None:
                process.parent = self._processes.get(process.ppid)
        if self._root in kept:
            self._root = None
        return changes
