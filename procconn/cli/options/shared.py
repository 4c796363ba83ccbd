"""Options that mean the same for several subcommands."""

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
    """Add the options that say which events, and where from."""
    add_which(command)
    command.add_argument(
        "-i", "--input", metavar="FILE", help="read a recording, not the kernel"
    )


def add_which(command: ArgumentParser) -> None:
    """Add the options that say which events."""
    _add_kinds(command)
    group = command.add_argument_group("of which processes")
    group.add_argument(
        "-p", "--pid", type=to_possible_pid, metavar="PID", help="this one"
    )
    group.add_argument(
        "--tree",
        type=to_possible_pid,
        metavar="PID",
        help="this process and its descendants",
    )
    group.add_argument(
        "-u",
        "--user",
        type=to_user,
        metavar="USER",
        help="a user's, by name or number",
    )
    group.add_argument(
        "-n",
        "--name",
        type=to_pattern,
        metavar="REGEX",
        help="those whose command line has a match",
    )
    command.add_argument(
        "-d",
        "--duration",
        type=to_seconds,
        metavar="SECONDS",
        help="stop after so long",
    )
    command.add_argument(
        "-c",
        "--count",
        type=to_count,
        metavar="N",
        help="stop after so many events",
    )


def _add_kinds(command: ArgumentParser) -> None:
    command.add_argument(
        "-e",
        "--events",
        type=to_mask,
        metavar="LIST",
        help=f"only these, separated by commas: {', '.join(EVENTS)}",
    )
    command.add_argument(
        "--failed", action="store_true", help="of exits only those that failed"
    )
    command.add_argument(
        "-t",
        "--threads",
        action="store_true",
        help="also of threads other than a process's first",
    )


def add_quiet(command: ArgumentParser) -> None:
    """Add the option that leaves out warnings."""
    command.add_argument(
        "--quiet", action="store_true", help="no warnings about limits"
    )


def add_usage(command: ArgumentParser, text: str) -> None:
    """Add the option for what processes used."""
    command.add_argument("--usage", action="store_true", help=text)


def add_json(command: ArgumentParser, text: str) -> None:
    """Add the option for JSON."""
    command.add_argument("--json", action="store_true", help=text)


def add_output(
    command: ArgumentParser, text: str = "write there, not to standard output"
) -> None:
    """Add the option that names the output."""
    command.add_argument("-o", "--output", metavar="FILE", help=text)
