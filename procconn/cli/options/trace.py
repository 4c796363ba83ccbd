"""The options of `procconn trace`."""

from argparse import REMAINDER, ArgumentParser

from procconn.cli.options.shared import add_output, add_quiet, add_usage

MORE = "\nThe exit status is the command's."
EXAMPLE = "procconn trace --show-tree -- make -j2"


def add_options(command: ArgumentParser) -> None:
    """Add the options to the parser of the subcommand."""
    command.set_defaults(run="procconn.cli.trace", is_endless=False)
    command.add_argument(
        "--show-tree", action="store_true", help="print the processes as a tree"
    )
    command.add_argument(
        "--timeline",
        metavar="FILE",
        help="draw a timeline: an .svg picture, or a .json trace for Perfetto",
    )
    add_usage(command, "print the resource usage of each process: CPU and memory")
    add_output(command, "write the summary to FILE, not to standard error")
    add_quiet(command)
    command.add_argument(
        "command",
        nargs=REMAINDER,
        metavar="COMMAND",
        help="command to run, with its arguments",
    )
