"""A build of many small C files, as something to be watched."""

import subprocess
import time
from pathlib import Path

FILES = 200
TINY, USUAL = 20, 200  # functions in a file; those of csrc take as long as the latter


def write_sources(folder: Path, functions: int = TINY) -> None:
    """Write the files, and a Makefile for all."""
    objects = [f"{n}.o" for n in range(FILES)]
    (folder / "Makefile").write_text(f"all: {' '.join(objects)}\n")
    for number in range(FILES):
        text = "".join(
            f"int f{number}_{n}(int x) {{ return x * {n} + {number}; }}\n"
            for n in range(functions)
        )
        (folder / f"{number}.c").write_text(f"#include <stdio.h>\n{text}")


def make(folder: Path, *watcher: str) -> float:
    """Build everything anew, under a watcher if there is one; return the seconds."""
    build = ["make", "--silent", "--always-make", "-j2", "-C", str(folder)]
    start = time.monotonic()
    subprocess.run([*watcher, *build], check=True)
    return time.monotonic() - start
