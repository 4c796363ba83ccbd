"""The file of a recording: a path to open, or a file opened by the caller."""

from __future__ import annotations

import os
from io import BufferedIOBase, TextIOBase
from typing import TYPE_CHECKING, BinaryIO, TypeAlias

from procconn.files import open_private

if TYPE_CHECKING:
    from typing import Self

File: TypeAlias = str | os.PathLike[str] | BinaryIO | BufferedIOBase


class FileOwner:
    """Base class of objects that use a file, and close it if they opened it."""

    def __init__(self, file: File, mode: str) -> None:
        self._is_owner = isinstance(file, str | os.PathLike)
        self._file: BinaryIO | BufferedIOBase
        if isinstance(file, str | os.PathLike):
            # Unbuffered, so that a crash loses nothing that was written.
            opener = open_private if mode == "wb" else None
            self._file = open(file, mode, buffering=0, opener=opener)  # type: ignore[assignment]  # noqa: SIM115
        elif isinstance(file, TextIOBase):
            raise TypeError(f"file must be open in mode {mode!r}, not {file!r}")
        elif hasattr(file, "read"):
            self._file = file
        else:
            raise TypeError(f"file must be a path or a binary file, not {file!r}")

    @property
    def closed(self) -> bool:
        """Whether the file is closed."""
        return self._file.closed

    def close(self) -> None:
        """Close the file, unless the caller opened it; idempotent."""
        if self._is_owner:
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()
