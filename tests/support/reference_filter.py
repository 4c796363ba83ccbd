"""Decides whether a mask selects an event, without the C module."""

from procconn import Event, EventMask, Exit, Lost, Unknown


def is_selected(event: Event, mask: EventMask, *, threads: bool) -> bool:
    """Return whether the mask selects the event."""
    if isinstance(event, Lost):
        return True
    if isinstance(event, Unknown):
        return mask | EventMask.NONZERO_EXIT == EventMask.ALL
    if event.is_thread and not threads:
        return False
    if isinstance(event, Exit) and event.exit_code and EventMask.NONZERO_EXIT in mask:
        return True
    return EventMask[type(event).__name__.upper()] in mask
