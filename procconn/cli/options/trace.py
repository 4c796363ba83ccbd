"""The options of `procconn trace`."""

from argparse import REMAINDER, ArgumentParser

from procconn.cli.options.shared import add_output, add_quiet, add_usage

MORE = " The exit status is the command's."
EXAMPLE = "procconn trace --show-tree -- make -j2"


def add_options(command: ArgumentParser) -> None:
    """Add them to the parser of the subcommand."""
    command.set_defaults(run="procconn.cli.trace", is_endless=False)
    command.add_argument(
        "--show-tree", action="store_true", help="print each process, as a tree"
    )
    command.add_argument(
        "--timeline",
        metavar="FILE",
        help="draw what ran when: .svg is a picture, .json a trace for Perfetto",
    )
    add_usage(command, "print also what each process used: CPU and memory")
    add_output(command, "write the summary there, not to standard error")
    add_quiet(command)
    command.add_argument(
        "command", nargs=REMAINDER, metavar="COMMAND", help="and its arguments"
    )
