"""The options of `procconn wait`."""

from argparse import ArgumentParser

from procconn.cli.options.shared import add_json, add_output, add_quiet
from procconn.cli.values import to_pid, to_seconds

MORE = (
    "\nThe exit status is that of the process that ended last; 124 after the timeout,\n"
    "127 if a process does not exist."
)
EXAMPLE = "procconn wait --timeout 60 4711"


def add_options(command: ArgumentParser) -> None:
    """Add the options to the parser of the subcommand."""
    command.set_defaults(run="procconn.cli.wait", is_endless=False)
    command.add_argument("pids", nargs="+", type=to_pid, metavar="PID")
    command.add_argument(
        "--any", action="store_true", help="return when the first process ends"
    )
    command.add_argument(
        "--timeout",
        type=to_seconds,
        metavar="SECONDS",
        help="give up after this time",
    )
    add_json(command, "print a JSON object for each process")
    add_output(command)
    add_quiet(command)
