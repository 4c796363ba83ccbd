"""The man page and the shell completions: they match the parser, and work."""

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
PATIENCE = 60.0  # seconds


def parsers() -> dict[str, argparse.ArgumentParser]:
    """List the subcommands."""
    for action in make_parser()._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    raise AssertionError("the parser has no subcommands")


def options(name: str) -> Iterator[argparse.Action]:
    return (it for it in parsers()[name]._actions if it.option_strings)


def needs(program: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(program) is None, reason=f"takes {program}")


@pytest.mark.parametrize("path", [PAGE, BASH, ZSH], ids=lambda path: path.name)
def test_what_is_shipped_is_what_the_parser_makes(path: Path, tmp_path: Path) -> None:
    subprocess.run([sys.executable, SHARE / "generate.py", tmp_path], check=True)
    made = (tmp_path / path.relative_to(SHARE)).read_text()

    assert made == path.read_text(), "the parser has changed: run `make share`"


@needs("man")
def test_the_page_tells_of_every_subcommand_and_option() -> None:
    shown = subprocess.run(
        ["man", "-E", "UTF-8", "-l", PAGE],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "MANWIDTH": "120", "MAN_KEEP_FORMATTING": ""},
    ).stdout
    _, *sections = shown.split("\n   procconn ")

    assert list(parsers()) == [it.split()[0] for it in sections]
    assert "\n       -h, --help\n" in shown
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
            marks=needs("man"),
            id="man",
        ),
        pytest.param(
            ["mandoc", "-T", "lint", "-W", "warning"],
            marks=needs("mandoc"),
            id="mandoc",
        ),
    ],
)
def test_the_page_is_good_roff(command: list[str]) -> None:
    done = subprocess.run([*command, PAGE], capture_output=True, text=True, check=False)
    complaints = done.stderr + (done.stdout if command[0] == "mandoc" else "")

    # It has no date: it is of a version, and may be made at any time.
    assert [] == [it for it in complaints.splitlines() if "missing date" not in it]


def completed(*words: str) -> set[str]:
    """Tell what bash offers for the last word."""
    script = (
        f'source {BASH}; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))\n'
        '_procconn "$1" "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"\n'
        'printf "%s\\n" "${COMPREPLY[@]}"'
    )
    command = ["bash", "--norc", "-uc", script, "bash", "procconn", *words]
    return set(subprocess.check_output(command, text=True).split())


@needs("bash")
@pytest.mark.parametrize("name", parsers())
def test_bash_offers_every_option(name: str) -> None:
    expected = {option.option_strings[-1] for option in options(name)}

    assert expected == completed(name, "-")


@needs("bash")
def test_bash_offers_every_subcommand() -> None:
    assert {*parsers(), "--help", "--version"} == completed("")


@needs("bash")
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
def test_bash_offers_what_suits(words: list[str], offered: set[str]) -> None:
    assert offered == completed(*words)


@needs("bash")
@pytest.mark.parametrize("words", [["watch", "--pid"], ["wait", "1"]], ids=" ".join)
def test_bash_offers_processes(words: list[str]) -> None:
    assert str(os.getpid()) in completed(*words, "")


SETTINGS = {
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
    """Type after the command's name in a shell on a terminal; return its output."""
    command, setup = SETTINGS[shell]
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ.update(TERM="xterm", PATH="/usr/bin:/bin")
        os.execvp(command[0], command)
    try:
        os.write(terminal, f"{setup}; echo READY-$((0 + 1))\n".encode())
        _heard(terminal, "READY-1")
        os.write(terminal, f"procconn {keys}\n".encode())
        return _heard(terminal, ">\r\n").partition("GOT <")[2].partition(">")[0]
    finally:
        os.close(terminal)
        os.waitpid(pid, 0)


def _heard(terminal: int, end: str) -> str:
    output = ""
    deadline = time.monotonic() + PATIENCE
    while end not in output:
        assert time.monotonic() < deadline, output
        if select.select([terminal], [], [], 1)[0]:
            output += os.read(terminal, 10_000).decode(errors="replace")
    return output


@pytest.mark.filterwarnings(
    "ignore:.*multi-threaded, use of forkpty:DeprecationWarning"
)
@pytest.mark.parametrize(
    "shell", [pytest.param(it, marks=needs(it)) for it in SETTINGS]
)
@pytest.mark.parametrize(
    ("keys", "got"),
    [
        ("wat\t--ev\texec,for\t", "watch --events exec,fork"),
        ("watch --events=exec,for\t", "watch --events exec,fork"),
        ("stat --user roo\t", "stat --user root"),
        ("trace --show\t-- mktem\t", "trace --show-tree -- mktemp"),
        (f"record {START}\t", f"record {PAGE}"),
        ("doctor --js\t", "doctor --json"),
    ],
)
def test_a_shell_completes_what_is_typed(shell: str, keys: str, got: str) -> None:
    """Shells may complete an option with an equals sign."""
    assert got == typed(shell, keys).replace("=", " ")
