"""A slow but obviously correct model of processes.

A history is built from a list of steps, which Hypothesis can shrink. It holds the
events that the kernel would report, and the running processes after each step.
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

# Hypothesis strategies: the steps of a history, and positions in it.
STEP_KINDS = ["fork", "fork", "clone", "clone", "exit_thread", "exit_thread"]
STEP_KINDS += ["fork_root", "exec", "exit_group", "pause"]
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
class ModelProcess:
    """A process of the model: its threads, execs and lifetime."""

    pid: int
    parent: "ModelProcess | None"
    started_ns: int
    threads: set[int]
    in_tree: bool
    execs: list[int] = field(default_factory=list)
    ended_ns: int | None = None
    exit_code: int | None = None


class ModelState(NamedTuple):
    """The running processes after a step, and the number of events so far."""

    now_ns: int
    events: int
    running: dict[int, tuple[ModelProcess, frozenset[int]]]


class History:
    """Processes that fork, exec and exit as `steps` prescribe."""

    def __init__(self, steps: list[tuple[str, int, int]]) -> None:
        self.now_ns = 10 * PAUSE_NS
        self.events: list[Event] = []
        self.all: list[ModelProcess] = []
        self._free_since = dict.fromkeys(_PIDS, 0)
        init = ModelProcess(INIT, None, 0, {INIT}, in_tree=False)
        self.all.append(init)
        self.running = {INIT: init}
        self.states = [self._state()]
        for name, which, how in steps:
            self.now_ns += STEP_NS
            pids = sorted(self.running)
            getattr(self, f"_{name}")(self.running[pids[which % len(pids)]], how)
            self.states.append(self._state())

    def snapshot(self, first: int, stride: int) -> Snapshot:
        """Take a snapshot; the state may advance between reads of two processes."""
        last = len(self.states) - 1
        entries = []
        for index, pid in enumerate([INIT, *_PIDS]):
            state = self.states[min(last, first + index * stride // 4)]
            if pid not in state.running:
                continue
            process, threads = state.running[pid]
            parent = process.parent
            is_orphan = parent is None or parent.pid not in state.running
            ppid = INIT if is_orphan or parent is None else parent.pid
            start = process.started_ns // TICK_NS * TICK_NS
            at = state.now_ns + 1
            entries.append(
                SnapshotEntry(pid, ppid, "name", start, tuple(threads), at, at + 1)
            )
        begin, end = self.states[min(last, first)], state
        return Snapshot(tuple(entries), begin.now_ns + 1, end.now_ns + 2)

    def process_at(self, pid: int, timestamp_ns: int) -> ModelProcess | None:
        """Return the process with this PID at a time, or else the last one before."""
        return next(
            (
                process
                for process in reversed(self.all)
                if process.pid == pid
                and process.started_ns <= timestamp_ns + 2 * TICK_NS
            ),
            None,
        )

    def _state(self) -> ModelState:
        running = {
            pid: (process, frozenset(process.threads))
            for pid, process in self.running.items()
        }
        return ModelState(self.now_ns, len(self.events), running)

    def _next_time(self) -> int:
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

    def _pause(self, _process: ModelProcess, _how: int) -> None:
        self.now_ns += PAUSE_NS

    def _fork(self, process: ModelProcess, how: int) -> None:
        if (pid := self._new_pid(how)) is None:
            return
        parent_tid = sorted(process.threads)[how % len(process.threads)]
        fork = Fork(parent_tid, process.pid, pid, pid, self._next_time(), 0)
        self.events.append(fork)
        child = ModelProcess(pid, process, self.now_ns, {pid}, process.in_tree)
        self.all.append(child)
        self.running[pid] = child

    def _fork_root(self, process: ModelProcess, how: int) -> None:
        """Fork a process, which becomes the root of the tree if there is none."""
        known = len(self.all)
        self._fork(process, how)
        if len(self.all) > known and not any(other.in_tree for other in self.all):
            self.all[-1].in_tree = True

    def _clone(self, process: ModelProcess, how: int) -> None:
        if (tid := self._new_pid(how)) is None:
            return
        parent = process.parent.pid if process.parent else 0
        self.events.append(Fork(parent, parent, tid, process.pid, self._next_time(), 0))
        process.threads.add(tid)

    def _exec(self, process: ModelProcess, how: int) -> None:
        """Execute a program in any thread; other threads exit before or after."""
        caller = sorted(process.threads)[how % len(process.threads)]
        others = sorted(process.threads - {caller, process.pid})
        early = others[: how % 3]
        for tid in early:
            self._exit_event(process, tid, 0)
        if process.pid in process.threads and caller != process.pid:
            self._exit_event(process, process.pid, 0)
        self.events.append(Exec(process.pid, process.pid, self._next_time(), 0))
        process.execs.append(self.now_ns)
        for tid in others[len(early) :]:
            self._exit_event(process, tid, 0)
        self._release(process.threads - {process.pid})
        process.threads = {process.pid}

    def _exit_thread(self, process: ModelProcess, how: int) -> None:
        """End one thread, possibly the thread-group leader."""
        tid = sorted(process.threads)[how % len(process.threads)]
        if process.pid == INIT and len(process.threads) == 1:
            return
        self._exit_event(process, tid, 0)
        process.threads.remove(tid)
        if tid != process.pid:
            self._release({tid})
        if not process.threads:
            self._end(process, 0)

    def _exit_group(self, process: ModelProcess, how: int) -> None:
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
        self._end(process, exit_code)

    def _exit_event(self, process: ModelProcess, tid: int, exit_code: int) -> None:
        event = Exit(tid, process.pid, exit_code, _SIGCHLD, 0, 0, self._next_time(), 0)
        self.events.append(event)

    def _end(self, process: ModelProcess, exit_code: int) -> None:
        process.ended_ns, process.exit_code = self.now_ns, exit_code
        del self.running[process.pid]
        self._release({process.pid})

    def _release(self, tids: set[int]) -> None:
        for tid in tids:
            self._free_since[tid] = self.now_ns
