"""A slow but obviously correct model of processes.

A history is made from a list of steps, so that hypothesis can shrink it. It has the
events that the kernel would report, and after each step the processes that run.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

from hypothesis import strategies as st

from procconn import Event, Exec, Exit, Fork
from procconn.processes import Snapshot, SnapshotEntry

STEP_NS = 1_000_000
PAUSE_NS = 300_000_000
TICK_NS = 10_000_000
INIT = 1
_PIDS = range(2, 13)  # few, so that they are reused
_SIGCHLD = 17

# Hypothesis strategies: the steps of a history, and places in it.
STEP_KINDS = ["fork", "fork", "thread", "thread", "leave", "leave"]
STEP_KINDS += ["plant", "exec", "exit", "pause"]
STEPS = st.lists(
    st.tuples(
        st.sampled_from(STEP_KINDS),
        st.integers(0, 20),
        st.integers(0, 20),
    ),
    max_size=60,
)
POSITION = st.integers(0, 100)


@dataclass(eq=False)
class Truth:
    """A process as it really was."""

    pid: int
    parent: "Truth | None"
    started_ns: int
    threads: set[int]
    is_of_tree: bool
    execs: list[int] = field(default_factory=list)
    ended_ns: int | None = None
    exit_code: int | None = None


class Moment(NamedTuple):
    """The processes that ran after a step, and the number of events so far."""

    now_ns: int
    events: int
    running: dict[int, tuple[Truth, frozenset[int]]]


class History:
    """Processes that fork, execute and end as the steps say."""

    def __init__(self, steps: list[tuple[str, int, int]]) -> None:
        self.now_ns = 10 * PAUSE_NS
        self.events: list[Event] = []
        self.all: list[Truth] = []
        self._free_since = dict.fromkeys(_PIDS, 0)
        init = Truth(INIT, None, 0, {INIT}, is_of_tree=False)
        self.all.append(init)
        self.running = {INIT: init}
        self.moments = [self._moment()]
        for name, which, how in steps:
            self.now_ns += STEP_NS
            pids = sorted(self.running)
            getattr(self, f"_{name}")(self.running[pids[which % len(pids)]], how)
            self.moments.append(self._moment())

    def snapshot(self, first: int, stride: int) -> Snapshot:
        """Read one process after another, each at the same moment or later."""
        last = len(self.moments) - 1
        entries = []
        for index, pid in enumerate([INIT, *_PIDS]):
            moment = self.moments[min(last, first + index * stride // 4)]
            if pid not in moment.running:
                continue
            truth, threads = moment.running[pid]
            parent = truth.parent
            is_orphan = parent is None or parent.pid not in moment.running
            ppid = INIT if is_orphan or parent is None else parent.pid
            start = truth.started_ns // TICK_NS * TICK_NS
            at = moment.now_ns + 1
            entries.append(
                SnapshotEntry(pid, ppid, "name", start, tuple(threads), at, at + 1)
            )
        begin, end = self.moments[min(last, first)], moment
        return Snapshot(tuple(entries), begin.now_ns + 1, end.now_ns + 2)

    def truth_of(self, pid: int, timestamp_ns: int) -> Truth | None:
        """Return the process that had a PID at a time, or the last that had it."""
        return next(
            (
                it
                for it in reversed(self.all)
                if it.pid == pid and it.started_ns <= timestamp_ns + 2 * TICK_NS
            ),
            None,
        )

    def _moment(self) -> Moment:
        running = {pid: (it, frozenset(it.threads)) for pid, it in self.running.items()}
        return Moment(self.now_ns, len(self.events), running)

    def _time(self) -> int:
        self.now_ns += 1000
        return self.now_ns

    def _new_pid(self, which: int) -> int | None:
        free = [
            pid
            for pid, since in self._free_since.items()
            if since is not None and since + PAUSE_NS // 2 < self.now_ns
        ]
        if not free:
            return None
        pid = free[which % len(free)]
        self._free_since[pid] = self.now_ns + (1 << 62)
        return pid

    def _pause(self, _process: Truth, _how: int) -> None:
        self.now_ns += PAUSE_NS

    def _fork(self, process: Truth, how: int) -> None:
        if (pid := self._new_pid(how)) is None:
            return
        maker = sorted(process.threads)[how % len(process.threads)]
        fork = Fork(maker, process.pid, pid, pid, self._time(), 0)
        self.events.append(fork)
        child = Truth(pid, process, self.now_ns, {pid}, process.is_of_tree)
        self.all.append(child)
        self.running[pid] = child

    def _plant(self, process: Truth, how: int) -> None:
        """Fork the process that is the root of the tree."""
        known = len(self.all)
        self._fork(process, how)
        if len(self.all) > known and not any(it.is_of_tree for it in self.all):
            self.all[-1].is_of_tree = True

    def _thread(self, process: Truth, how: int) -> None:
        if (tid := self._new_pid(how)) is None:
            return
        parent = process.parent.pid if process.parent else 0
        self.events.append(Fork(parent, parent, tid, process.pid, self._time(), 0))
        process.threads.add(tid)

    def _exec(self, process: Truth, how: int) -> None:
        """Execute a program in any thread; other threads exit before or after."""
        caller = sorted(process.threads)[how % len(process.threads)]
        others = sorted(process.threads - {caller, process.pid})
        early = others[: how % 3]
        for tid in early:
            self._exit_event(process, tid, 0)
        if process.pid in process.threads and caller != process.pid:
            self._exit_event(process, process.pid, 0)
        self.events.append(Exec(process.pid, process.pid, self._time(), 0))
        process.execs.append(self.now_ns)
        for tid in others[len(early) :]:
            self._exit_event(process, tid, 0)
        self._release(process.threads - {process.pid})
        process.threads = {process.pid}

    def _leave(self, process: Truth, how: int) -> None:
        """End one thread, possibly the thread-group leader."""
        tid = sorted(process.threads)[how % len(process.threads)]
        if process.pid == INIT and len(process.threads) == 1:
            return
        self._exit_event(process, tid, 0)
        process.threads.remove(tid)
        if tid != process.pid:
            self._release({tid})
        if not process.threads:
            self._ended(process, 0)

    def _exit(self, process: Truth, how: int) -> None:
        """End all threads at once, as exit_group(2) and signals do."""
        if process.pid == INIT:
            return
        exit_code = [0, 256, 9, 11][how % 4]
        threads = sorted(process.threads)
        cut = how % len(threads)
        for tid in threads[cut:] + threads[:cut]:
            self._exit_event(process, tid, exit_code)
        self._release(process.threads - {process.pid})
        process.threads = set()
        self._ended(process, exit_code)

    def _exit_event(self, process: Truth, tid: int, exit_code: int) -> None:
        event = Exit(tid, process.pid, exit_code, _SIGCHLD, 0, 0, self._time(), 0)
        self.events.append(event)

    def _ended(self, process: Truth, exit_code: int) -> None:
        process.ended_ns, process.exit_code = self.now_ns, exit_code
        del self.running[process.pid]
        self._release({process.pid})

    def _release(self, tids: set[int]) -> None:
        for tid in tids:
            self._free_since[tid] = self.now_ns
