"""Which processes of a snapshot belong to a tree."""

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
    """Return the unknown ones that are the root, or descend from it or a known one.

    Each is visited once, however long the chains are.
    """
    descendants = {pid for pid in unknown if pid == root}
    visited: set[int] = set()
    for pid in unknown:
        path: list[int] = []
        at: int | None = pid
        while (
            at is not None
            and at in unknown
            and not (at in descendants or at in visited)
        ):
            path.append(at)
            visited.add(at)
            at = unknown[at][0].ppid
        if at in descendants or at in known:
            descendants.update(path)
    return descendants
