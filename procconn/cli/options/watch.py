"""The options of `procconn watch`."""

from argparse import ArgumentParser

from procconn.cli.options.shared import (
    add_json,
    add_output,
    add_quiet,
    add_selection,
    add_usage,
)
from procconn.cli.values import to_seconds

MORE = ""
EXAMPLE = "procconn watch --events exec,exit --user www-data"


def add_options(command: ArgumentParser) -> None:
    """Add the options to the parser of the subcommand."""
    command.set_defaults(run="procconn.cli.watch", is_endless=True)
    add_selection(command)
    command.add_argument(
        "--latency",
        type=to_seconds,
        default=0.01,
        metavar="SECONDS",
        help="minimum time between two writes (default: %(default)s)",
    )
    add_usage(command, "print resource usage at each exit: CPU and memory")
    add_json(command, "print a JSON object for each event")
    add_output(command)
    add_quiet(command)
