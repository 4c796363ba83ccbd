"""The options and arguments of the command-line parser, as plain data."""

import argparse
from collections.abc import Iterator
from typing import NamedTuple

from procconn.cli.parser import make_parser


class Option(NamedTuple):
    """An option.

    Attributes:
        flags: such as "-e" and "--events", the short one first.
        value: the metavar or the choices of its value; "" without a value.
        text: its help.
        group: the heading of its help; "" for the default group.
    """

    flags: tuple[str, ...]
    value: str
    text: str
    group: str


class Subcommand(NamedTuple):
    """A subcommand.

    Attributes:
        summary: a line of help; `text` is the whole description.
        example: a command line.
        argument: the metavar of its positional arguments; "" for none.
        repeated: whether it takes several positional arguments.
    """

    name: str
    summary: str
    text: str
    example: str
    options: tuple[Option, ...]
    argument: str
    repeated: bool


def general_options() -> tuple[Option, ...]:
    """Return the options of the command itself, such as `--version`."""
    return tuple(_options(make_parser(), with_help=True))


def subcommands() -> Iterator[Subcommand]:
    """Yield the subcommands in the order of the help."""
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
    """Return the metavar of an option, or its choices."""
    return str(action.metavar) if action.choices is None else "|".join(action.choices)


def _options(parser: argparse.ArgumentParser, *, with_help: bool) -> Iterator[Option]:
    default = (parser._positionals, parser._optionals)
    for group in parser._action_groups:
        title = "" if group in default else group.title or ""
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
