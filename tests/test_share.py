"""The man page and the shell completions: they match the parser and work."""

import argparse
import os
import pty
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from procconn.cli.parser import make_parser
from procconn.cli.values import EVENTS

SHARE = Path(__file__).parents[1] / "share"
PAGE = SHARE / "man/man1/procconn.1"
BASH = SHARE / "bash-completion/completions/procconn"
ZSH = SHARE / "zsh/site-functions/_procconn"
START = str(PAGE).removesuffix(".1")
TIMEOUT = 60.0  # seconds


def parsers() -> dict[str, argparse.ArgumentParser]:
    """Return the parser of each subcommand."""
    for action in make_parser()._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    raise AssertionError("the parser has no subcommands")


def options(name: str) -> Iterator[argparse.Action]:
    return (action for action in parsers()[name]._actions if action.option_strings)


def requires(program: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(
        shutil.which(program) is None, reason=f"requires {program}"
    )


@pytest.mark.parametrize("path", [PAGE, BASH, ZSH], ids=lambda path: path.name)
def test_shipped_file_is_the_one_generated_from_the_parser(
    path: Path, tmp_path: Path
) -> None:
    subprocess.run([sys.executable, SHARE / "generate.py", tmp_path], check=True)
    generated = (tmp_path / path.relative_to(SHARE)).read_text()

    assert generated == path.read_text(), "the parser has changed: run `make share`"


@requires("man")
def test_man_page_documents_every_subcommand_and_option() -> None:
    page = subprocess.run(
        ["man", "-E", "UTF-8", "-l", PAGE],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "MANWIDTH": "120", "MAN_KEEP_FORMATTING": ""},
    ).stdout
    _, *sections = page.split("\n   procconn ")

    assert list(parsers()) == [section.split()[0] for section in sections]
    assert "\n       -h, --help\n" in page
    for section in sections:
        name = section.split()[0]
        for option in options(name):
            if option.dest != "help":
                value = f" {option.metavar}" if option.metavar else ""
                flags = ", ".join(option.option_strings) + value
                assert f"\n       {flags}\n" in section or f" {flags} " in section


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(
            ["man", "--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z"],
            marks=requires("man"),
            id="man",
        ),
        pytest.param(
            ["mandoc", "-T", "lint", "-W", "warning"],
            marks=requires("mandoc"),
            id="mandoc",
        ),
    ],
)
def test_man_page_has_no_roff_warnings(command: list[str]) -> None:
    done = subprocess.run([*command, PAGE], capture_output=True, text=True, check=False)
    warnings = done.stderr + (done.stdout if command[0] == "mandoc" else "")

    # The page has no date, so that its build is reproducible.
    assert [] == [line for line in warnings.splitlines() if "missing date" not in line]


def completed(*words: str) -> set[str]:
    """Return the completions that bash offers for the last word."""
    script = (
        f'source {BASH}; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))\n'
        '_procconn "$1" "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"\n'
        'printf "%s\\n" "${COMPREPLY[@]}"'
    )
    command = ["bash", "--norc", "-uc", script, "bash", "procconn", *words]
    return set(subprocess.check_output(command, text=True).split())


@requires("bash")
@pytest.mark.parametrize("name", parsers())
def test_bash_offers_every_option(name: str) -> None:
    expected = {option.option_strings[-1] for option in options(name)}

    assert expected == completed(name, "-")


@requires("bash")
def test_bash_offers_every_subcommand() -> None:
    assert {*parsers(), "--help", "--version"} == completed("")


@requires("bash")
@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["watch", "--events", "ex"], {"exec", "exit"}),
        (["watch", "-e", "fork,exe"], {"fork,exec"}),
        (["watch", "--events", "="], {*EVENTS}),
        (["watch", "--count", ""], set[str]()),
        (["watch", "-u", "roo"], {"root"}),
        (["ship", "--format", ""], {"ecs", "json"}),
        (["record", "--usage", START], {str(PAGE)}),
        (["trace", "--timeline", "a.svg", "-o", "b", "mktem"], {"mktemp"}),
        (["trace", "--timeline", "=", "a.svg", "mktem"], {"mktemp"}),
        (["trace", "make", "-o", START], {str(PAGE)}),
        (["trace", "--", "mktem"], {"mktemp"}),
    ],
    ids=" ".join,
)
def test_bash_offers_values_that_suit_the_option(
    words: list[str], offered: set[str]
) -> None:
    assert offered == completed(*words)


@requires("bash")
@pytest.mark.parametrize("words", [["watch", "--pid"], ["wait", "1"]], ids=" ".join)
def test_bash_offers_process_ids(words: list[str]) -> None:
    assert str(os.getpid()) in completed(*words, "")


SHELLS = {
    "bash": (
        ["bash", "--norc", "--noprofile", "-i"],
        f"source {BASH}; procconn() {{ printf 'GOT <%s>\\n' \"$*\"; }}",
    ),
    "zsh": (
        ["zsh", "-f", "-i"],
        f"fpath=({ZSH.parent} $fpath); autoload -Uz compinit; compinit -u -D;"
        ' procconn() { print -r "GOT <$*>"; }',
    ),
}


def typed(shell: str, keys: str) -> str:
    """Type arguments of procconn in an interactive shell; return the completed ones."""
    command, setup = SHELLS[shell]
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ.update(TERM="xterm", PATH="/usr/bin:/bin")
        os.execvp(command[0], command)
    try:
        os.write(terminal, f"{setup}; echo READY-$((0 + 1))\n".encode())
        _read_until(terminal, "READY-1")
        os.write(terminal, f"procconn {keys}\n".encode())
        return _read_until(terminal, ">\r\n").partition("GOT <")[2].partition(">")[0]
    finally:
        os.close(terminal)
        os.waitpid(pid, 0)


def _read_until(terminal: int, end: str) -> str:
    output = ""
    deadline = time.monotonic() + TIMEOUT
    while end not in output:
        assert time.monotonic() < deadline, output
        if select.select([terminal], [], [], 1)[0]:
            output += os.read(terminal, 10_000).decode(errors="replace")
    return output


@pytest.mark.filterwarnings(
    "ignore:.*multi-threaded, use of forkpty:DeprecationWarning"
)
@pytest.mark.parametrize(
    "shell", [pytest.param(name, marks=requires(name)) for name in SHELLS]
)
@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ("wat\t--ev\texec,for\t", "watch --events exec,fork"),
        ("watch --events=exec,for\t", "watch --events exec,fork"),
        ("stat --user roo\t", "stat --user root"),
        ("trace --show\t-- mktem\t", "trace --show-tree -- mktemp"),
        (f"record {START}\t", f"record {PAGE}"),
        ("doctor --js\t", "doctor --json"),
    ],
)
def test_interactive_shell_completes_arguments(
    shell: str, keys: str, expected: str
) -> None:
    """A shell may complete an option with an equals sign instead of a space."""
    assert expected == typed(shell, keys).replace("=", " ")
