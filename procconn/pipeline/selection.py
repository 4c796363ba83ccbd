"""`Selection`: the filter options that several subcommands share."""

import argparse
import functools
import os
import re
from dataclasses import dataclass

from procconn.events import EventMask, Exit, Fork, Lost, Unknown
from procconn.processes import Process
from procconn.processes.tracker import EventInContext
from procconn.programs import Program

_EXITS = EventMask.EXIT | EventMask.NONZERO_EXIT
_ANY_EXIT, _FAILED_EXIT = int(EventMask.EXIT), int(EventMask.NONZERO_EXIT)
_CONTEXT = EventMask.FORK | EventMask.EXEC | EventMask.EXIT | EventMask.UID


def requested_kinds(options: argparse.Namespace) -> EventMask:
    """Return the requested kinds; `--failed` alone selects failed exits only."""
    mask = EventMask.ALL if options.events is None else options.events
    if not options.failed:
        return mask
    others = EventMask.NONE if options.events is None else mask & ~_EXITS
    return others | EventMask.NONZERO_EXIT


@dataclass(frozen=True, kw_only=True)
class Selection:
    """A filter of events; None means no such condition.

    Attributes:
        mask: the kinds of events; NONZERO_EXIT without EXIT selects failed exits.
        threads: whether to include events of threads other than the main thread.
        pid: select this process.
        tree: select this process and its descendants.
        uid: select processes with this effective user ID.
        pattern: select processes whose command line matches.
        count: the number of events after which to stop; a `Lost` does not count.
        duration: the time after which to stop, in seconds.
        input: the recording to read instead of the kernel's events.
    """

    mask: EventMask
    threads: bool = False
    pid: int | None = None
    tree: int | None = None
    uid: int | None = None
    pattern: re.Pattern[str] | None = None
    count: int | None = None
    duration: float | None = None
    input: str | None = None

    @classmethod
    def of(cls, options: argparse.Namespace) -> "Selection":
        """Return the selection that the parsed options describe."""
        return cls(
            mask=requested_kinds(options),
            threads=options.threads,
            pid=options.pid,
            tree=options.tree,
            uid=options.user,
            pattern=options.name,
            count=options.count,
            duration=options.duration,
            input=options.input,
        )

    @functools.cached_property
    def needs_context(self) -> bool:
        """Whether events need the context of their process."""
        if self.tree is not None or self.mask & _EXITS:
            return True
        by_program = self.uid is not None or self.pattern is not None
        return by_program and self.mask != EventMask.EXEC

    @functools.cached_property
    def kernel_mask(self) -> EventMask:
        """The kinds to receive from the kernel, which filters out the others."""
        if not self.needs_context:
            return self.mask
        return self.mask | _CONTEXT

    @functools.cached_property
    def _own_pid(self) -> int | None:
        """The PID of this command, whose command line contains the pattern."""
        return os.getpid() if self.input is None else None

    @functools.cached_property
    def _kinds(self) -> int:
        return int(self.mask)  # operations on flags are many times slower

    @functools.cached_property
    def is_by_process(self) -> bool:
        """Whether it selects events by their process."""
        conditions = (self.pid, self.tree, self.uid, self.pattern)
        return any(it is not None for it in conditions)

    def matches(self, item: EventInContext) -> bool:
        """Return whether an event is selected; a `Lost` always is."""
        event = item.event
        if isinstance(event, Lost):
            return True
        if isinstance(event, Unknown):
            return self.mask == EventMask.ALL and not self.is_by_process
        if isinstance(event, Exit):
            if not (item.ended or self.threads) or not self._matches_exit(item, event):
                return False
        elif not self._kinds & event.what or (event.is_thread and not self.threads):
            return False
        return not self.is_by_process or self._matches_process(item)

    def matches_running(self, process: Process) -> bool:
        """Return whether the events of a running process are selected."""
        if self.pid is not None and process.pid != self.pid:
            return False
        if self.uid is not None and process.euid != self.uid:
            return False
        return self._matches_name(process.pid, process.program)

    def _matches_name(self, pid: int, program: Program | None) -> bool:
        if self.pattern is None:
            return True
        if program is None or pid == self._own_pid:
            return False
        return bool(self.pattern.search(program.command))

    def _matches_exit(self, item: EventInContext, event: Exit) -> bool:
        if self._kinds & _ANY_EXIT:
            return True
        return bool(self._kinds & _FAILED_EXIT and item.returncode_of(event))

    def _matches_process(self, item: EventInContext) -> bool:
        event = item.event
        if self.tree is not None and item.process is None:
            return False
        if self.uid is not None and item.uid != self.uid:
            return False
        if isinstance(event, Lost | Unknown):  # which have no process
            return False
        if isinstance(event, Fork):
            pid = event.child_tgid
            is_of_pid = self.pid in (event.parent_tgid, pid)
        else:
            pid = event.tgid
            is_of_pid = self.pid == pid
        if self.pid is not None and not is_of_pid:
            return False
        return self._matches_name(pid, item.program)
