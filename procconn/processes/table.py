"""`ProcessTable`: events in, changes out.

A process runs as long as one of its threads does, whichever that is, and so the table
keeps the ids of the threads of each. What makes them change:

- `Fork` of a thread adds one; `Exit` takes one away, and the last ends the process.
- `Exec` leaves exactly one, which has the process's pid from then on. Where another
  thread than the first calls it, an `Exit` of that pid comes before, while the caller
  still runs under its own id; exits of the others may come after it.

A snapshot says what ran at a time, and the stream of events passes that time sooner or
later. Either order is taken:

- Events are fed first: those since the beginning or the last `Lost` are noted, and
  what the snapshot says of a process is brought up to date with what came after.
- The snapshot comes first: events before the reading change nothing that was read.

Between a `Lost` and the snapshot, the threads of a process that is older than the loss
are not known well: what looks like its end is told when the snapshot confirms it. A
table that never saw a snapshot expects none, and tells at once. The pid of
one from a snapshot is taken to come again no sooner than in `SLACK_NS`.
"""

from __future__ import annotations

from collections import deque
from types import MappingProxyType
from typing import TYPE_CHECKING

from procconn.events import Comm, Event, Exec, Exit, Fork, Lost, Uid
from procconn.processes.notes import (
    SLACK_NS,
    Note,
    brought_up_to_date,
    fill,
    is_other,
    is_same,
    kin_among,
)
from procconn.processes.process import Change, Ended, Executed, Process, Started

if TYPE_CHECKING:
    from collections.abc import Mapping

    from procconn.processes.snapshot import Snapshot, SnapshotEntry

_NOTES = 20_000  # what comes while a snapshot is taken; more is only older


class ProcessTable:
    """The processes that run, as far as events and snapshots tell.

    Args:
        tree: keep only the process with this pid and all that come of it: the children
            of those kept, whatever becomes of their parents. One that was made with
            CLONE_PARENT counts as a child of its parent, not of its maker.
    """

    def __init__(self, *, tree: int | None = None) -> None:
        self._processes: dict[int, Process] = {}
        self._everything = tree is None
        self._root = tree  # until it is found
        self._notes: deque[Note] | None = deque(maxlen=_NOTES)  # None: all is known
        self._has_snapshot = False
        self._epoch = 0
        self._ended: list[Process] = []
        self._gone_ns: dict[int, int] = {}  # by when pids were found to be free

    @property
    def processes(self) -> Mapping[int, Process]:
        """The running processes by pid: a view that follows the table."""
        return MappingProxyType(self._processes)

    def feed(self, event: Event) -> list[Change]:
        """Take in the next event of the stream.

        Returns:
            What it changed; a `Lost` is passed on.
        """
        if self._ended:
            self._let_go()
        if isinstance(event, Fork):
            return self._fork(event)
        if isinstance(event, Exit):
            second = self._processes.get(event.tgid)
            if second and second._overtaken and event.pid == event.tgid:
                return self._end_overtaken(second._overtaken, second, event)
            return self._exit(event)
        if isinstance(event, Exec):
            return self._exec(event)
        if isinstance(event, Comm | Uid):
            self._change(event)
        elif isinstance(event, Lost):
            self._epoch += 1
            if self._notes is None:
                self._notes = deque(maxlen=_NOTES)
            return [event]
        return []

    def resync(self, snapshot: Snapshot, *, is_newest: bool = True) -> list[Change]:
        """Take in a snapshot: at the beginning, and after each `Lost`.

        Of the first one only the ends are told: what ran before is in `processes`.

        Args:
            snapshot: what ran.
            is_newest: whether no `Lost` was fed since it was taken. If one was, another
                snapshot has to follow: what was dropped may be newer than this one.

        Returns:
            What has ended and what has started unseen.
        """
        self._let_go()
        notes: dict[int, list[Note]] = {}
        for note in self._notes or ():
            notes.setdefault(note.tgid, []).append(note)
        changes: list[Change] = []
        self._gone_ns.clear()
        strangers: dict[int, tuple[SnapshotEntry, set[int]]] = {}
        running = set()
        for entry in snapshot.processes:
            process = self._processes.get(entry.pid)
            if entry.started_ns is None or (
                process is not None and process._known_ns > entry.after_ns
            ):
                running.add(entry.pid)  # and nothing newer is said of it
                continue
            if process is not None and not is_same(process, entry):
                if process._seems_ended_ns > entry.started_ns:
                    process._threads = None  # that exit was the other's
                    process._seems_ended_epoch = -1
                changes.append(self._gone(process, entry.before_ns))
                process = None
            newer, threads = brought_up_to_date(entry, notes.get(entry.pid, []))
            if threads and process is None:
                strangers[entry.pid] = newer, threads
            elif threads and process is not None:
                running.add(entry.pid)
                fill(process, newer, threads)
            elif process is not None and entry.threads and not is_newest:
                running.add(entry.pid)  # unless another thread began in that loss
                process._threads = threads
        for process in list(self._processes.values()):
            if process.pid not in running and process._known_ns < snapshot.before_ns:
                changes.append(self._gone(process, snapshot.before_ns))
                self._gone_ns[process.pid] = snapshot.after_ns
        changes += self._admit(strangers, self._epoch if is_newest else self._epoch - 1)
        if is_newest:
            self._notes = None
        self._has_snapshot = True
        return changes

    def settle(self) -> list[Change]:
        """End the processes of which no known thread runs, as no snapshot will follow.

        Returns:
            Their ends.
        """
        return [
            self._end(process, process._seems_ended_ns)
            for process in list(self._processes.values())
            if process._threads is not None and not process._threads
        ]

    def is_doubtful(self, process: Process) -> bool:
        """Return whether it may have unknown threads, after a `Lost`.

        If so, the next snapshot decides whether an exit was its end.
        """
        is_older_than_a_loss = process._epoch != self._epoch
        return is_older_than_a_loss and self._has_snapshot and self._notes is not None

    def _fork(self, event: Fork) -> list[Change]:
        _, parent_tgid, pid, tgid, timestamp_ns, _ = event
        if self._notes is not None:
            self._notes.append(Note(tgid, pid, Fork, timestamp_ns))
        known = self._processes.get(tgid)
        if pid != tgid:
            if known is not None and timestamp_ns >= known._read_ns:
                if known._threads is None:
                    known._threads = {tgid}
                known._threads.add(pid)
            return []
        changes: list[Change] = []
        overtaken, parent = None, self._processes.get(parent_tgid)
        if parent is not None and parent._known_ns > timestamp_ns + SLACK_NS:
            parent = None  # that pid was another's then
        if known is not None:
            if timestamp_ns < known._known_ns - SLACK_NS:
                return []  # that of an earlier process with this pid
            if known.known_since == "start" and known._epoch == self._epoch:
                overtaken = known
            elif timestamp_ns <= known._known_ns + SLACK_NS:
                return self._begin(known, event, parent)
            else:
                changes.append(self._gone(known, timestamp_ns))
        if parent is None and parent_tgid != self._root and not self._is_wanted(tgid):
            return changes
        process = Process(
            pid,
            parent_tgid,
            parent,
            name=None,
            started_ns=timestamp_ns,
            known_since="start",
        )
        process._inherit(parent, event)
        process._epoch = self._epoch
        process._told = True
        process._overtaken = overtaken
        self._processes[pid] = process
        changes.append(Started(process, timestamp_ns))
        return changes

    def _exec(self, event: Exec) -> list[Change]:
        pid, tgid, timestamp_ns = event.pid, event.tgid, event.timestamp_ns
        if self._notes is not None:
            self._notes.append(Note(tgid, pid, Exec, timestamp_ns))
        program = event.program
        changes: list[Change] = []
        process = self._processes.get(tgid)
        if process is None:
            is_old = timestamp_ns < self._gone_ns.get(tgid, 0)
            if is_old or not self._is_wanted(tgid):
                return []
            ppid = None if program is None else program.ppid
            process = Process(
                tgid, ppid, None, name=None, started_ns=None, known_since="snapshot"
            )
            process._known_ns = timestamp_ns
            process._epoch = self._epoch
            self._processes[tgid] = process
            if self._has_snapshot and self._notes is not None:  # its fork was lost
                process._told = True
                changes.append(Started(process, timestamp_ns))
        elif timestamp_ns < process._known_ns - SLACK_NS:
            return []  # that of an earlier process with this pid
        is_newer = timestamp_ns >= process._read_ns
        if is_newer:
            process._threads = None
            process._executed()
            process.name = None if program is None else program.name
            process.is_kernel_thread = False
            if program is not None and program.euid is not None:
                process.uid, process.euid = program.uid, program.euid
        known = process.program
        if is_newer or known is None or (program and not is_other(known, program)):
            process.program = program
        process._executed_ns = timestamp_ns
        changes.append(Executed(process, program, timestamp_ns))
        return changes

    def _exit(self, event: Exit) -> list[Change]:
        pid, tgid, timestamp_ns = event.pid, event.tgid, event.timestamp_ns
        if self._notes is not None:
            self._notes.append(Note(tgid, pid, Exit, timestamp_ns))
        process = self._processes.get(tgid)
        if process is None or timestamp_ns < process._read_ns:
            return []
        if pid == tgid and timestamp_ns < process._executed_ns:
            process._thread_ended(event)  # and another has its place
            process._executed()
            return []
        if process._threads is not None:
            process._threads.discard(pid)
            process._thread_ended(event)
            if process._threads:
                self._note_end(process, timestamp_ns)
                return []
        elif pid != tgid:  # another thread, which an exec has ended
            process._thread_ended(event)
            process._executed()
            return []
        else:
            process._thread_ended(event)
        if self._note_end(process, timestamp_ns):
            process._threads = set()
            return []
        return [self._end(process, timestamp_ns)]

    def _change(self, event: Comm | Uid) -> None:
        """Take in the name or the user IDs of a main thread."""
        if event.pid != event.tgid:
            return
        if self._notes is not None:
            note = Note(event.tgid, event.pid, type(event), event.timestamp_ns)
            self._notes.append(note)
        process = self._processes.get(event.tgid)
        if process is None or event.timestamp_ns < process._read_ns:
            return
        if isinstance(event, Comm):
            process.name = event.name
        else:
            process.uid, process.euid = event.ruid, event.euid

    def _begin(
        self, process: Process, event: Fork, parent: Process | None
    ) -> list[Change]:
        """Take in the fork of a process that is known already."""
        process.started_ns = process._known_ns = event.timestamp_ns
        process.ppid, process.parent = event.parent_tgid, parent
        process.known_since = "start"
        if process._told:
            return []
        process._told = True
        return [Started(process, event.timestamp_ns)]

    def _note_end(self, process: Process, timestamp_ns: int) -> bool:
        """If a thread's exit may be the process's end, note its time; return True."""
        if not self.is_doubtful(process):
            return False
        process._seems_ended_ns = timestamp_ns
        process._seems_ended_epoch = self._epoch
        return True

    def _end(self, process: Process, timestamp_ns: int) -> Ended:
        if process._epoch != self._epoch:
            process._usage = None  # some of its threads' may be lost
        process.ended_ns = timestamp_ns
        process._saw_end = process._exit is not None
        process._drop_ambiguous_status()
        process._threads = None
        del self._processes[process.pid]
        self._ended.append(process)
        return Ended(process, timestamp_ns)

    def _end_overtaken(self, it: Process, by: Process, event: Exit) -> list[Change]:
        """End one whose pid was used again before do_exit() reported its exit."""
        by._overtaken = None
        if is_its := event.timestamp_ns <= by._known_ns + SLACK_NS:
            it._thread_ended(event)
            ended = self._end(it, event.timestamp_ns)
        else:
            ended = self._gone(it, by._known_ns)
        self._processes[by.pid] = by
        return [ended] if is_its else [ended, *self._exit(event)]

    def _gone(self, process: Process, timestamp_ns: int) -> Ended:
        """End a process that is gone, whether its exit was observed or not.

        The last exit since a loss was its end, even if exits of threads were lost.
        """
        has_ended = process._threads is not None and not process._threads
        if has_ended or process._seems_ended_epoch == self._epoch:
            return self._end(process, process._seems_ended_ns)
        process._exit = None
        process._usage = None
        return self._end(process, timestamp_ns)

    def _let_go(self) -> None:
        for process in self._ended:
            process.parent = None
        self._ended.clear()

    def _is_wanted(self, pid: int) -> bool:
        """Tell whether to keep a process whose parent is not kept."""
        if self._everything:
            return True
        if pid == self._root:
            self._root = None
            return True
        return False

    def _admit(
        self, strangers: dict[int, tuple[SnapshotEntry, set[int]]], epoch: int
    ) -> list[Change]:
        """Take in the processes of a snapshot that the table does not know."""
        wanted = list(strangers)
        if not self._everything:
            kin = kin_among(strangers, self._processes, self._root)
            wanted = [pid for pid in strangers if pid in kin]
        changes: list[Change] = []
        for pid in wanted:
            entry, threads = strangers[pid]
            process = Process(
                pid,
                entry.ppid,
                None,
                name=None,
                started_ns=entry.started_ns,
                known_since="snapshot",
            )
            process._epoch = epoch
            fill(process, entry, threads)
            self._processes[pid] = process
            if self._has_snapshot:
                process._told = True
                changes.append(Started(process, process._known_ns))
        for pid in wanted:
            process = self._processes[pid]
            if process.ppid is not None:
                process.parent = self._processes.get(process.ppid)
        if self._root in wanted:
            self._root = None
        return changes
