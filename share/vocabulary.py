"""What the parser of the command takes, as plain data."""

import argparse
from collections.abc import Iterator
from typing import NamedTuple

from procconn.cli.parser import make_parser


class Option(NamedTuple):
    """An option.

    Attributes:
        flags: as they are typed, the short one first.
        value: what kind of value it takes, as in its help; "" for none.
        text: its help.
        group: the heading that its help is under; "" for the usual one.
    """

    flags: tuple[str, ...]
    value: str
    text: str
    group: str


class Subcommand(NamedTuple):
    """A subcommand.

    Attributes:
        summary: one line about it; `text` is all there is to say.
        example: a command line.
        argument: what kind of arguments it takes; "" for none.
        repeated: whether it takes several of them.
    """

    name: str
    summary: str
    text: str
    example: str
    options: tuple[Option, ...]
    argument: str
    repeated: bool


def general() -> tuple[Option, ...]:
    """Bring the options of the command itself; `--help` is every subcommand's, too."""
    return tuple(_options(make_parser(), with_help=True))


def subcommands() -> Iterator[Subcommand]:
    """Bring the subcommands in the order of the help."""
    (action,) = (
        it
        for it in make_parser()._actions
        if isinstance(it, argparse._SubParsersAction)
    )
    summaries = {it.dest: it.help or "" for it in action._choices_actions}
    for name, parser in action.choices.items():
        arguments = [it for it in parser._actions if not it.option_strings]
        (argument,) = arguments or [None]
        yield Subcommand(
            name,
            summaries[name],
            parser.description or "",
            (parser.epilog or "").removeprefix("example: "),
            tuple(_options(parser, with_help=False)),
            str(argument.metavar) if argument else "",
            argument is not None and argument.nargs is not None,
        )


def _value_of(action: argparse.Action) -> str:
    """Name a kind of value, or list the few that there are."""
    return str(action.metavar) if action.choices is None else "|".join(action.choices)


def _options(parser: argparse.ArgumentParser, *, with_help: bool) -> Iterator[Option]:
    usual = (parser._positionals, parser._optionals)
    for group in parser._action_groups:
        title = "" if group in usual else group.title or ""
        for action in group._group_actions:
            if not action.option_strings or (
                isinstance(action, argparse._HelpAction) and not with_help
            ):
                continue
            yield Option(
                tuple(action.option_strings),
                "" if action.nargs == 0 else _value_of(action),
                (action.help or "") % vars(action),
                title,
            )
