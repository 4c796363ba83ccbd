"""Finds the code blocks of the documents; as a program, runs those of one document.

Blocks marked `python` run in order in one namespace, `sh` blocks run with `bash -eu`,
both in the current directory. A `text` block is compared with the output of the block
before it. The exit status is 0 if no block failed and all outputs match.
"""

import contextlib
import io
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, NoReturn

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted(
    path.relative_to(ROOT).as_posix()
    for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]
)

_OPENS_ONE = re.compile(r"\b(ProcConnector|ProcessMonitor)\(")
_FENCE = "```"
_PATIENCE = 60  # seconds for each block


class Block(NamedTuple):
    """A fenced block of a document."""

    language: str
    line: int  # of its text, counted from 1
    text: str


def blocks(document: str) -> Iterator[Block]:
    """Yield the fenced blocks of a document, whose path is relative to the root."""
    language, start, lines = "", 0, list[str]()
    for number, line in enumerate((ROOT / document).read_text().splitlines(), 1):
        if start and line == _FENCE:
            yield Block(language, start, "".join(lines))
            start = 0
        elif start:
            lines.append(line + "\n")
        elif line.startswith(_FENCE):
            language, start, lines = line.removeprefix(_FENCE).strip(), number + 1, []


def code(document: str) -> list[Block]:
    """Return the blocks to run."""
    return [block for block in blocks(document) if block.language in _RUN]


def needs_events(document: str) -> bool:
    """Return whether the code of a document needs live events."""
    return any(
        block.language == "sh" or _OPENS_ONE.search(block.text)
        for block in code(document)
    )


def run(document: str) -> None:
    """Run a document's code; print each block's output."""
    namespace: dict[str, object] = {"__name__": "__main__"}
    ran, output = "", ""
    signal.signal(signal.SIGALRM, _give_up)
    for block in blocks(document):
        if block.language in _RUN:
            signal.alarm(_PATIENCE)
            output = _RUN[block.language](document, block, namespace)
            signal.alarm(0)
            sys.stdout.write(output)
        elif block.language == "text":
            shown, real = _shapes(block.text, ran), _shapes(output, ran)
            if not shown <= real:
                sys.exit(
                    f"{document}:{block.line}: shown, but not seen: {shown - real}"
                )
        ran = block.language


def _python(document: str, block: Block, namespace: dict[str, object]) -> str:
    output = io.StringIO()
    program = "\n" * (block.line - 1) + block.text  # for the tracebacks
    with contextlib.redirect_stdout(output):
        exec(compile(program, ROOT / document, "exec"), namespace)
    return output.getvalue()


def _sh(document: str, block: Block, namespace: dict[str, object]) -> str:
    del document, namespace
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    command = ["bash", "-eu", "-c", block.text]
    with _activity():
        return subprocess.run(
            command, env={**os.environ, "PATH": path}, check=True, stdout=-1, text=True
        ).stdout


@contextlib.contextmanager
def _activity() -> Iterator[None]:
    """Keep processes starting and ending, so that commands see events."""
    script = "while /bin/sleep 0.05; do :; done"
    with subprocess.Popen(["sh", "-c", script]) as busy:
        try:
            yield
        finally:
            busy.kill()


_RUN = {"python": _python, "sh": _sh}


def _give_up(*_: object) -> NoReturn:
    raise TimeoutError(f"the block did not end within {_PATIENCE} seconds")


def _shapes(text: str, language: str) -> set[str]:
    """Reduce lines to what two runs have in common.

    All numbers become 0. Of the output of a shell only the first word of each line is
    kept: the rest depends on what else the machine does.
    """
    lines = [re.sub(r"\d+", "0", line).split() for line in text.splitlines()]
    return {" ".join(line if language == "python" else line[:1]) for line in lines}


if __name__ == "__main__":
    run(sys.argv[1])
