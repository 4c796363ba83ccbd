"""Lifetimes of processes, from events.

`ProcessMonitor` reports the changes of this machine's processes, and `wait` returns how
given processes ended. Both use `ProcessTable`: events in, changes out, no I/O.
"""

from procconn.processes.monitor import ProcessMonitor
from procconn.processes.process import Change, Ended, Executed, Process, Started
from procconn.processes.snapshot import Snapshot, SnapshotEntry, take_snapshot
from procconn.processes.table import ProcessTable
from procconn.processes.waiting import wait, wait_async

__all__ = [
    "Change",
    "Ended",
    "Executed",
    "Process",
    "ProcessMonitor",
    "ProcessTable",
    "Snapshot",
    "SnapshotEntry",
    "Started",
    "take_snapshot",
    "wait",
    "wait_async",
]
