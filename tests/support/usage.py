"""Receives the resource usage of tasks that exit."""

from procconn import Event, Exit, ProcConnector, Usage
from support.live import events_until


def exits_by_pid(events: list[Event]) -> dict[int, Exit]:
    """Return the EXIT events by PID."""
    return {event.pid: event for event in events if isinstance(event, Exit)}


def usage_at_exit(connector: ProcConnector, pid: int) -> Usage | None:
    """Receive events up to the EXIT of a task, and return its usage."""
    events = events_until(
        connector, lambda event: isinstance(event, Exit) and event.pid == pid
    )
    return exits_by_pid(events)[pid].usage
