"""Select the processes of a snapshot that belong to a tree."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Container, Mapping

    from procconn.processes.snapshot import SnapshotEntry


def descendants_among(
    unknown: Mapping[int, tuple[SnapshotEntry, set[int]]],
    known: Container[int | None],
    root: int | None,
) -> set[int]:
    """Return the unknown PIDs that are the root, or descend from it or a known process.

    Visits each PID once, so that long chains take linear time.
    """
    descendants = {pid for pid in unknown if pid == root}
    visited: set[int] = set()
    for pid in unknown:
        path: list[int] = []
        ancestor: int | None = pid
        while (
            ancestor is not None
            and ancestor in unknown
            and not (ancestor in descendants or ancestor in visited)
        ):
            path.append(ancestor)
            visited.add(ancestor)
            ancestor = unknown[ancestor][0].ppid
        if ancestor in descendants or ancestor in known:
            descendants.update(path)
    return descendants
