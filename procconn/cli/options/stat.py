"""The options of `procconn stat`."""

from argparse import ArgumentParser

from procconn.cli.options.shared import add_json, add_output, add_quiet, add_selection

MORE = " Prints a table at the end."
EXAMPLE = "procconn stat --duration 10"


def add_options(command: ArgumentParser) -> None:
    """Add the options to the parser of the subcommand."""
    command.set_defaults(run="procconn.cli.stat", is_endless=True)
    add_selection(command)
    add_json(command, "print a JSON object each second")
    add_output(command)
    add_quiet(command)
