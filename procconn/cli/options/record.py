"""The options of `procconn record`."""

from argparse import ArgumentParser

from procconn.cli.options.shared import add_quiet, add_usage, add_which

MORE = ""
EXAMPLE = "procconn record --duration 60 minute.pcap"


def add_options(command: ArgumentParser) -> None:
    """Add the options to the parser of the subcommand."""
    command.set_defaults(run="procconn.cli.record", is_endless=True, input=None)
    command.add_argument("file", metavar="FILE")
    add_which(command)
    add_usage(command, "record resource usage; implies --threads")
    add_quiet(command)
