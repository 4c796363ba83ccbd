"""Take screens of the command on a terminal, and put them into documents.

    screens.py [DOCUMENT]...

Where one has `<!-- screen NAME -->`, what is up to `<!-- /screen -->` is replaced.
It takes tmux, make and events. Two shells run beside each other: one works, the other
looks at what it does.
"""

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

_DOCS = Path(__file__).parent
DOCUMENTS = (_DOCS / "tutorial.md", _DOCS / "guides/command.md")

_WIDTH, _HEIGHT = 100, 50
_PATIENCE = 60.0  # seconds
_PROMPT = "$ "
_CONNECTOR, _GROUP = "11", 1  # of a row in /proc/net/netlink
_MAKEFILE = """\
all.txt: a.txt b.txt
	sort -m -o all.txt a.txt b.txt
	-cmp a.txt b.txt

%.txt: %.list
	sort -o $@ $<
"""


class Terminal:
    """A shell on a terminal of tmux, which has a server of its own for it."""

    def __init__(self, folder: str) -> None:
        self._tmux = ["tmux", "-L", f"procconn-{os.getpid()}-{id(self)}"]
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        shell = ["env", f"PS1={_PROMPT}", f"PATH={path}", "LC_ALL=C.UTF-8", "sh"]
        size = ["-x", str(_WIDTH), "-y", str(_HEIGHT)]
        self._run("-f", os.devnull, "new-session", "-d", *size, "-c", folder, *shell)
        self.pid = int(self._run("display", "-p", "#{pane_pid}"))
        self.until(lambda: self.screen() == _PROMPT.strip())

    def type(self, line: str) -> None:
        """Type a line."""
        self._run("send-keys", "-l", line)
        self.press("Enter")

    def press(self, key: str) -> None:
        """Press a key, by the name that tmux has for it."""
        self._run("send-keys", key)

    def screen(self) -> str:
        """Tell what is shown."""
        return self._run("capture-pane", "-p").rstrip()

    def until(self, holds: Callable[[], object]) -> None:
        """Wait until something holds."""
        deadline = time.monotonic() + _PATIENCE
        while not holds():
            if time.monotonic() > deadline:
                sys.exit(f"waited in vain; the screen shows:\n{self.screen()}")
            time.sleep(0.02)

    def until_done(self) -> None:
        """Wait until the shell is ready for the next line."""
        self.until(lambda: self.screen().endswith(f"\n{_PROMPT.strip()}"))

    def children(self) -> list[int]:
        """List the processes that the shell waits for."""
        file = Path(f"/proc/{self.pid}/task/{self.pid}/children")
        return [int(pid) for pid in file.read_text().split()]

    def until_subscribed(self) -> None:
        """Wait until what the shell runs gets events: its port is its pid."""

        def holds() -> bool:
            lines = Path("/proc/net/netlink").read_text().splitlines()[1:]
            rows = map(str.split, lines)
            ports = {
                int(row[2])
                for row in rows
                if row[1] == _CONNECTOR and int(row[3], 16) & _GROUP
            }
            return not ports.isdisjoint(self.children())

        self.until(holds)

    def close(self) -> None:
        """End the shell and the server."""
        self._run("kill-server")

    def _run(self, *arguments: str) -> str:
        return subprocess.run(
            [*self._tmux, *arguments], stdout=subprocess.PIPE, text=True, check=True
        ).stdout


def watch(work: Terminal, view: Terminal) -> None:
    """Look at a make with two jobs."""
    view.type(f"procconn watch --tree {work.pid} --events exec,exit --usage")
    view.until_subscribed()
    work.type("make -j2")
    view.until(lambda: re.search(r" exit .* make -j2 ", view.screen()))


def stat(work: Terminal, view: Terminal) -> None:
    """Count what one make after the other does."""
    view.type(f"procconn stat --tree {work.pid} --duration 3")
    view.until_subscribed()
    work.type("while make -B; do :; done")
    view.until_done()
    work.press("C-c")


def wait(work: Terminal, view: Terminal) -> None:
    """Wait for what somebody else's shell has started."""
    work.type("sleep 60")
    work.until(work.children)
    view.type(f"procconn wait {work.children()[0]}; echo $?")
    view.until_subscribed()
    work.press("C-c")
    view.until_done()


def trace(_: Terminal, view: Terminal) -> None:
    """Tell what a make has run."""
    view.type("procconn trace --show-tree --usage -- make -s -j2")
    view.until_done()


def record(work: Terminal, view: Terminal) -> None:
    """Record a make, and look at that."""
    view.type("procconn record --duration 2 make.pcap")
    view.until_subscribed()
    work.type("make -j2")
    view.until_done()
    view.type(f"procconn watch --input make.pcap --tree {work.pid} --failed")
    view.until(lambda: " exit " in view.screen())
    view.until_done()


def doctor(_: Terminal, view: Terminal) -> None:
    """Look at what is in the way here."""
    view.type("procconn doctor")
    view.until_done()


_SCREENS = {it.__name__: it for it in (watch, stat, wait, trace, record, doctor)}


def taken(name: str) -> str:
    """Take a screen, without the prompt at its end."""
    with TemporaryDirectory(prefix="make-") as folder, ExitStack() as stack:
        for target in "ab":
            lines = "".join(f"{n * 7919 % 100_003}\n" for n in range(100_000))
            Path(folder, f"{target}.list").write_text(target + lines)
        Path(folder, "Makefile").write_text(_MAKEFILE)
        terminals = []
        for _ in range(2):
            terminals.append(Terminal(folder))
            stack.callback(terminals[-1].close)
        _SCREENS[name](*terminals)
        return terminals[1].screen().removesuffix(f"\n{_PROMPT.strip()}")


def main() -> None:
    """Take all screens of documents anew."""
    for document in map(Path, sys.argv[1:] or DOCUMENTS):
        document.write_text(
            re.sub(
                r"(<!-- screen (\w+) -->\n).*?(<!-- /screen -->)",
                lambda it: f"{it[1]}```\n{taken(it[2])}\n```\n{it[3]}",
                document.read_text(),
                flags=re.DOTALL,
            )
        )


if __name__ == "__main__":
    main()
