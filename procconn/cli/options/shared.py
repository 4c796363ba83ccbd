"""Options that several subcommands share."""

from argparse import ArgumentParser

from procconn.cli.values import (
    EVENTS,
    to_count,
    to_mask,
    to_pattern,
    to_possible_pid,
    to_seconds,
    to_user,
)


def add_selection(command: ArgumentParser) -> None:
    """Add the options that select events, and their source."""
    add_which(command)
    command.add_argument(
        "-i",
        "--input",
        metavar="FILE",
        help="read events from a recording, not the kernel",
    )


def add_which(command: ArgumentParser) -> None:
    """Add the options that select events."""
    _add_kinds(command)
    group = command.add_argument_group("process filters")
    group.add_argument(
        "-p", "--pid", type=to_possible_pid, metavar="PID", help="only this process"
    )
    group.add_argument(
        "--tree",
        type=to_possible_pid,
        metavar="PID",
        help="only this process and its descendants",
    )
    group.add_argument(
        "-u",
        "--user",
        type=to_user,
        metavar="USER",
        help="only processes of this effective user, by name or ID",
    )
    group.add_argument(
        "-n",
        "--name",
        type=to_pattern,
        metavar="REGEX",
        help="only processes whose command line has a match",
    )
    command.add_argument(
        "-d",
        "--duration",
        type=to_seconds,
        metavar="SECONDS",
        help="stop after this time",
    )
    command.add_argument(
        "-c",
        "--count",
        type=to_count,
        metavar="N",
        help="stop after this number of events",
    )


def _add_kinds(command: ArgumentParser) -> None:
    command.add_argument(
        "-e",
        "--events",
        type=to_mask,
        metavar="LIST",
        help=f"only these kinds, separated by commas: {', '.join(EVENTS)}",
    )
    command.add_argument(
        "--failed",
        action="store_true",
        help="of exits, only those with a nonzero status or a signal",
    )
    command.add_argument(
        "-t",
        "--threads",
        action="store_true",
        help="include threads other than the main thread",
    )


def add_quiet(command: ArgumentParser) -> None:
    """Add the option that suppresses warnings."""
    command.add_argument(
        "--quiet", action="store_true", help="do not print warnings about limits"
    )


def add_usage(command: ArgumentParser, text: str) -> None:
    """Add the option for resource usage."""
    command.add_argument("--usage", action="store_true", help=text)


def add_json(command: ArgumentParser, text: str) -> None:
    """Add the option for JSON."""
    command.add_argument("--json", action="store_true", help=text)


def add_output(
    command: ArgumentParser, text: str = "write to FILE, not to standard output"
) -> None:
    """Add the option for an output file."""
    command.add_argument("-o", "--output", metavar="FILE", help=text)
