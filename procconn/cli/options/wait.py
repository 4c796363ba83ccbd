"""The options of `procconn wait`."""

from argparse import ArgumentParser

from procconn.cli.options.shared import add_json, add_output, add_quiet
from procconn.cli.values import to_pid, to_seconds

MORE = (
    " The exit status is the last\n"
    "one's, 124 if the time was up, 127 if one is not there."
)
EXAMPLE = "procconn wait --timeout 60 4711"


def add_options(command: ArgumentParser) -> None:
    """Add them to the parser of the subcommand."""
    command.set_defaults(run="procconn.cli.wait", is_endless=False)
    command.add_argument("pids", nargs="+", type=to_pid, metavar="PID")
    command.add_argument("--any", action="store_true", help="return at the first end")
    command.add_argument(
        "--timeout",
        type=to_seconds,
        metavar="SECONDS",
        help="give up after that long",
    )
    add_json(command, "print a JSON object for each process")
    add_output(command)
    add_quiet(command)
