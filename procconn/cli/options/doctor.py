"""The options of `procconn doctor`."""

from argparse import ArgumentParser

from procconn.cli.options.shared import add_json

MORE = "\nThe exit status is 1 if there is a problem."
EXAMPLE = "procconn doctor"


def add_options(command: ArgumentParser) -> None:
    """Add the options to the parser of the subcommand."""
    command.set_defaults(run="procconn.cli.doctor", is_endless=False)
    add_json(command, "print a JSON object")
