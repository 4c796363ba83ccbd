"""Finds the code blocks of the documents. As a program, runs the blocks of a document.

`python` blocks run in order in one namespace, and `sh` blocks run with `bash -eu`, both
in the current directory. A `text` block is compared with the output of the block before
it. The exit status is 0 if no block fails and all outputs match.
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

_OPENS_CONNECTOR = re.compile(r"\b(ProcConnector|ProcessMonitor)\(")
_FENCE = "```"
_TIMEOUT = 60  # seconds for each block


class Block(NamedTuple):
    """A fenced block of a document."""

    language: str
    line: int  # number of the first line of the text, from 1
    text: str


def blocks(document: str) -> Iterator[Block]:
    """Yield the fenced blocks of a document, given its path relative to the root."""
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
    """Return the blocks of a document that can run."""
    return [block for block in blocks(document) if block.language in _RUN]


def needs_events(document: str) -> bool:
    """Return whether the code of a document needs live events."""
    return any(
        block.language == "sh" or _OPENS_CONNECTOR.search(block.text)
        for block in code(document)
    )


def run(document: str) -> None:
    """Run a document's code; print each block's output."""
    namespace: dict[str, object] = {"__name__": "__main__"}
    ran, output = "", ""
    signal.signal(signal.SIGALRM, _time_out)
    for block in blocks(document):
        if block.language in _RUN:
            signal.alarm(_TIMEOUT)
            output = _RUN[block.language](document, block, namespace)
            signal.alarm(0)
            sys.stdout.write(output)
        elif block.language == "text":
            shown, real = _shapes(block.text, ran), _shapes(output, ran)
            if not shown <= real:
                sys.exit(f"{document}:{block.line}: not in the output: {shown - real}")
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
            command,
            env={**os.environ, "PATH": path},
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        ).stdout


@contextlib.contextmanager
def _activity() -> Iterator[None]:
    """Start a process every 50 ms, so that commands receive events."""
    script = "while /bin/sleep 0.05; do :; done"
    with subprocess.Popen(["sh", "-c", script]) as busy:
        try:
            yield
        finally:
            busy.kill()


_RUN = {"python": _python, "sh": _sh}


def _time_out(*_: object) -> NoReturn:
    raise TimeoutError(f"the block did not end within {_TIMEOUT} seconds")


def _shapes(text: str, language: str) -> set[str]:
    """Reduce lines to the parts that do not differ between runs.

    All numbers become 0. Lines of a shell keep only their first word, as the rest
    depends on other processes of the machine.
    """
    lines = [re.sub(r"\d+", "0", line).split() for line in text.splitlines()]
    return {" ".join(line if language == "python" else line[:1]) for line in lines}


if __name__ == "__main__":
    run(sys.argv[1])
