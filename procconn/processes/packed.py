"""Programs of running processes, in little more memory than their bytes.

Anyone can start a process with 24,576 arguments in 48 KiB, which take 30 times as much
memory as objects. Long command lines are kept as bytes, and beyond a limit for all
together only their beginning.
"""

from __future__ import annotations

import os
from threading import RLock
from typing import TYPE_CHECKING, ClassVar, TypeAlias

if TYPE_CHECKING:
    from procconn.programs import Program

_FEW, _SHORT = 16, 1024  # arguments and characters of programs that stay objects
_MOST = 64 << 20  # bytes of the others together
_CUT = 4096  # characters of each beyond that
_SEPARATOR = "\0"  # which no argument contains


class Packed:
    """A program whose arguments are bytes."""

    __slots__ = ("_data", "_rest")
    held: ClassVar[int] = 0  # bytes, by all instances
    _lock: ClassVar[RLock] = RLock()  # reentrant: a collection may call __del__

    def __init__(self, rest: Program, text: str) -> None:
        self._rest = rest
        self._data = os.fsencode(text)
        with self._lock:
            type(self).held += len(self._data)

    def __del__(self) -> None:
        with self._lock:
            type(self).held -= len(self._data)

    @property
    def program(self) -> Program:
        """The program, perhaps with the beginning of its arguments only."""
        text = os.fsdecode(self._data)
        return self._rest._replace(argv=tuple(text.split(_SEPARATOR)))


Kept: TypeAlias = "Program | Packed | None"


def pack(program: Program | None) -> Kept:
    """Return a program in the form to keep it in."""
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


def unpack(kept: Kept) -> Program | None:
    """Return a program that is kept."""
    return kept.program if isinstance(kept, Packed) else kept
