"""The command-line parser. It loads only the options of the called subcommand."""

import argparse
import importlib
import sys
from collections.abc import Collection, Sequence

from procconn import __version__
from procconn.cli.mistakes import Parser, nearest

SUMMARIES = {
    "watch": "print a line for each event as it happens",
    "stat": "count events per second, by kind and by program",
    "wait": "wait for any processes to end, and print how each ended",
    "trace": "run a command, and print the processes it started",
    "record": "record events to a pcap file, for --input or tshark",
    "ship": "send events to a NATS JetStream server",
    "doctor": "check whether process events are available here, and if not, why",
}
"""One line of help for each subcommand; options are in `procconn.cli.options`."""


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse a command line; exit with a message if it is invalid."""
    arguments = sys.argv[1:] if arguments is None else arguments
    name = next((it for it in arguments if not it.startswith("-")), None)
    parser, commands = _make([] if name is None else [name])
    if not arguments:
        parser.print_help(sys.stderr)
        parser.exit(2)
    if name is not None and name not in commands:
        near = nearest(name, commands)
        hint = f"did you mean {near}?" if near else f"choose from {', '.join(commands)}"
        parser.error(f"unknown subcommand {name!r}; {hint}")
    options = parser.parse_args(arguments)
    if name == "trace":  # argparse does neither for REMAINDER
        if options.command[:1] == ["--"]:
            del options.command[0]
        if not options.command:
            commands[name].error("the following arguments are required: COMMAND")
    return options


def make_parser() -> argparse.ArgumentParser:
    """Return the parser with the options of all subcommands."""
    return _make(SUMMARIES)[0]


def _make(loaded: Collection[str]) -> tuple[argparse.ArgumentParser, dict[str, Parser]]:
    """Return the parser, and those of the subcommands by name.

    Args:
        loaded: the subcommands whose modules with options are imported.
    """
    parser = Parser(
        prog="procconn",
        description="Process events from the Linux kernel's Proc Connector.",
        epilog="Run procconn COMMAND --help for the options of a subcommand.",
    )
    parser.add_argument(
        "--version", action="version", version=f"%(prog)s {__version__}"
    )
    commands = parser.add_subparsers(
        required=True,
        metavar="COMMAND",
        dest="subcommand",
        parser_class=Parser,
    )
    for name, summary in SUMMARIES.items():
        command = commands.add_parser(
            name,
            help=summary,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        if name in loaded:
            module = importlib.import_module(f"procconn.cli.options.{name}")
            command.description = f"{summary[0].upper()}{summary[1:]}.{module.MORE}"
            command.epilog = f"example: {module.EXAMPLE}"
            module.add_options(command)
    return parser, commands.choices
