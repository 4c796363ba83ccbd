"""Compact storage of the programs of running processes.

Any user can start a process with 24,576 arguments in 48 KiB, which take 30 times that
memory as Python objects. So long command lines are stored as bytes, and if their total
exceeds a limit, they are truncated.
"""

from __future__ import annotations

import os
from threading import RLock
from typing import TYPE_CHECKING, ClassVar, TypeAlias

if TYPE_CHECKING:
    from procconn.programs import Program

_FEW, _SHORT = 16, 1024  # arguments and characters up to which a program is not packed
_MAX_TOTAL = 64 << 20  # bytes of all packed arguments
_TRUNCATED = 4096  # characters of each command line beyond that
_SEPARATOR = "\0"  # which no argument contains


class Packed:
    """A program whose arguments are stored as bytes."""

    __slots__ = ("_data", "_others")
    total: ClassVar[int] = 0  # bytes of all instances
    _lock: ClassVar[RLock] = RLock()  # reentrant: garbage collection may call __del__

    def __init__(self, others: Program, text: str) -> None:
        self._others = others
        self._data = os.fsencode(text)
        with self._lock:
            type(self).total += len(self._data)

    def __del__(self) -> None:
        with self._lock:
            type(self).total -= len(self._data)

    @property
    def program(self) -> Program:
        """The program; its arguments may be truncated."""
        text = os.fsdecode(self._data)
        return self._others._replace(argv=tuple(text.split(_SEPARATOR)))


Stored: TypeAlias = "Program | Packed | None"


def pack(program: Program | None) -> Stored:
    """Return a program, packed if its command line is long."""
    if program is None or program.argv is None:
        return program
    text = _SEPARATOR.join(program.argv)
    if len(program.argv) <= _FEW and len(text) <= _SHORT:
        return program
    if Packed.total >= _MAX_TOTAL and len(text) > _TRUNCATED:
        return Packed(
            program._replace(argv=None, cut=True), text[:_TRUNCATED].rstrip(_SEPARATOR)
        )
    return Packed(program._replace(argv=None), text)


def unpack(stored: Stored) -> Program | None:
    """Return a stored program."""
    return stored.program if isinstance(stored, Packed) else stored
