"""Which events: what the options say that all subcommands share which read them."""

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
_LIVES = EventMask.FORK | EventMask.EXEC | EventMask.EXIT | EventMask.UID


def kinds_of(options: argparse.Namespace) -> EventMask:
    """Tell which kinds were asked for; `--failed` alone is for failed exits alone."""
    mask = EventMask.ALL if options.events is None else options.events
    if not options.failed:
        return mask
    others = EventMask.NONE if options.events is None else mask & ~_EXITS
    return others | EventMask.NONZERO_EXIT


@dataclass(frozen=True, kw_only=True)
class Selection:
    """What was asked for; None where nothing was.

    Attributes:
        mask: the kinds of events; of exits, NONZERO_EXIT alone means those that failed.
        threads: whether events of threads other than a process's first are wanted.
        pid, tree, uid, pattern: of which processes: the one, it and all that come of
            it, those of a user, those with a command line that matches.
        count: how many events; losses do not count.
        duration: for how long, in seconds.
        input: the recording to read in place of the kernel's events.
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
        """Take it from what the parser made of the command line."""
        return cls(
            mask=kinds_of(options),
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
    def is_of_processes(self) -> bool:
        """Whether it takes more than the event itself to decide or to tell of it."""
        if self.tree is not None or self.mask & _EXITS:
            return True
        by_program = self.uid is not None or self.pattern is not None
        return by_program and self.mask != EventMask.EXEC

    @functools.cached_property
    def asked(self) -> EventMask:
        """What the kernel is asked for; the others it leaves out."""
        if not self.is_of_processes:
            return self.mask
        return self.mask | _LIVES

    @functools.cached_property
    def _own_pid(self) -> int | None:
        """That of this command, whose own command line has the pattern, too."""
        return os.getpid() if self.input is None else None

    @functools.cached_property
    def _kinds(self) -> int:
        return int(self.mask)  # flags take many times as long

    @functools.cached_property
    def is_of_some(self) -> bool:
        """Whether it is of some processes only."""
        of = (self.pid, self.tree, self.uid, self.pattern)
        return any(it is not None for it in of)

    def admits(self, seen: EventInContext) -> bool:
        """Tell whether an event is one of those; loss always is."""
        event = seen.event
        if isinstance(event, Lost):
            return True
        if isinstance(event, Unknown):
            return self.mask == EventMask.ALL and not self.is_of_some
        if isinstance(event, Exit):
            if not (seen.ended or self.threads) or not self._admits_exit(seen, event):
                return False
        elif not self._kinds & event.what or (event.is_thread and not self.threads):
            return False
        return not self.is_of_some or self._admits_process(seen)

    def admits_running(self, process: Process) -> bool:
        """Tell whether a process is one of those whose events are."""
        if self.pid is not None and process.pid != self.pid:
            return False
        if self.uid is not None and process.euid != self.uid:
            return False
        return self._matches(process.pid, process.program)

    def _matches(self, pid: int, program: Program | None) -> bool:
        if self.pattern is None:
            return True
        if program is None or pid == self._own_pid:
            return False
        return bool(self.pattern.search(program.command))

    def _admits_exit(self, seen: EventInContext, event: Exit) -> bool:
        if self._kinds & _ANY_EXIT:
            return True
        return bool(self._kinds & _FAILED_EXIT and seen.returncode_of(event))

    def _admits_process(self, seen: EventInContext) -> bool:
        event = seen.event
        if self.tree is not None and seen.process is None:
            return False
        if self.uid is not None and seen.uid != self.uid:
            return False
        if isinstance(event, Lost | Unknown):  # neither is of any process
            return False
        if isinstance(event, Fork):
            pid = event.child_tgid
            is_of_pid = self.pid in (event.parent_tgid, pid)
        else:
            pid = event.tgid
            is_of_pid = self.pid == pid
        if self.pid is not None and not is_of_pid:
            return False
        return self._matches(pid, seen.program)
