"""Prints a table of the platforms where the test suite has run.

    platforms.py RESULTS [DOCUMENT]

RESULTS contains one JSON line for each run, written by tests/conftest.py. If a platform
has several runs, the run with most tests counts. The table replaces the text between
the marks in DOCUMENT.
"""

import json
import re
import sys
from pathlib import Path

_PLATFORM = ("kernel", "processor", "libc", "python", "user")
_HEADINGS = ("kernel", "processor", "C library", "CPython", "as", "passed", "skipped")
_MARKS = re.compile(r"(?<=<!-- platforms -->\n).*?(?=<!-- /platforms -->)", re.DOTALL)


def rows(results: str) -> list[tuple[str, ...]]:
    """Return a row for each platform where no test failed."""
    runs = [json.loads(line) for line in results.splitlines()]
    runs = [run for run in runs if run["failed"] == run["error"] == 0]
    runs.sort(key=lambda run: run["passed"])
    most = {tuple(run[name] for name in _PLATFORM): run for run in runs}
    return [
        (*platform, str(run["passed"]), str(run["skipped"]))
        for platform, run in sorted(most.items(), key=_oldest_kernel_first)
    ]


def _oldest_kernel_first(item: tuple[tuple[str, ...], object]) -> tuple[object, ...]:
    kernel, *others = item[0]
    return [int(number) for number in re.findall(r"\d+", kernel)[:2]], others


def table(results: str) -> str:
    """Return the rows as a Markdown table."""
    lines = [_HEADINGS, ("---",) * len(_HEADINGS), *rows(results)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


if __name__ == "__main__":
    path, *documents = map(Path, sys.argv[1:])
    text = table(path.read_text())
    print(text, end="")
    for document in documents:
        document.write_text(_MARKS.sub(lambda _: text, document.read_text()))
