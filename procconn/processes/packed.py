"""Programs of running processes, in about as much memory as their bytes take.

Whoever starts a process chooses its arguments: 24,576 in 48 KiB, as objects 30 times as
much. They are kept as bytes, and beyond a limit for all together only their beginning.
"""

from __future__ import annotations

import os
from threading import RLock
from typing import TYPE_CHECKING, ClassVar, TypeAlias

if TYPE_CHECKING:
    from procconn.programs import Program

_FEW, _SHORT = 16, 1024  # arguments and characters that are kept as they are
_MOST = 64 << 20  # bytes of the others
_CUT = 4096  # characters of each, beyond that
_SEPARATOR = "\0"  # which no argument contains


class Packed:
    """A program whose arguments are bytes."""

    __slots__ = ("_data", "_others")
    held: ClassVar[int] = 0  # bytes, of all that there are
    _lock: ClassVar[RLock] = RLock()  # a collection may end another one meanwhile

    def __init__(self, others: Program, text: str) -> None:
        self._others = others
        self._data = os.fsencode(text)
        with self._lock:
            type(self).held += len(self._data)

    def __del__(self) -> None:
        with self._lock:
            type(self).held -= len(self._data)

    @property
    def program(self) -> Program:
        """The program as it was given, or with the beginning of its arguments."""
        text = os.fsdecode(self._data)
        return self._others._replace(argv=tuple(text.split(_SEPARATOR)))


Kept: TypeAlias = "Program | Packed | None"


def packed(program: Program | None) -> Kept:
    """Return what to keep of a program."""
    if program is None or program.argv is None:
        return program
    text = _SEPARATOR.join(program.argv)
    if len(program.argv) <= _FEW and len(text) <= _SHORT:
        return program
    if Packed.held >= _MOST and len(text) > _CUT:
        return Packed(
            program._replace(argv=None, cut=True), text[:_CUT].rstrip(_SEPARATOR)
        )
    return Packed(program._replace(argv=None), text)


def unpacked(kept: Kept) -> Program | None:
    """Return the program that was packed."""
    return kept.program if isinstance(kept, Packed) else kept
