"""Writes the seed inputs of a fuzzer."""

from collections.abc import Iterable
from pathlib import Path


def write_seeds(directory: Path, seeds: Iterable[bytes]) -> None:
    """Write one file for each seed."""
    directory.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(seeds):
        (directory / f"{number:04}").write_bytes(seed)
