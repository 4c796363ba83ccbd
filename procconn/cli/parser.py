"""What may be typed: the subcommands and their options, in one vocabulary."""

import argparse
import sys
from collections.abc import Sequence
from typing import TypeAlias

from procconn import __version__
from procconn.cli.mistakes import Parser, nearest
from procconn.cli.values import (
    EVENTS,
    to_age,
    to_count,
    to_host,
    to_mask,
    to_pattern,
    to_pid,
    to_possible_pid,
    to_seconds,
    to_size,
    to_stream,
    to_user,
)

Subparsers: TypeAlias = "argparse._SubParsersAction[Parser]"


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse a command line; exit with a message where it is not understood."""
    arguments = sys.argv[1:] if arguments is None else arguments
    parser, commands = _make()
    if not arguments:
        parser.print_help(sys.stderr)
        parser.exit(2)
    name = next((it for it in arguments if not it.startswith("-")), None)
    if name is not None and name not in commands:
        near = nearest(name, commands)
        hint = f"did you mean {near}?" if near else f"choose from {', '.join(commands)}"
        parser.error(f"unknown subcommand {name!r}; {hint}")
    options = parser.parse_args(arguments)
    if name == "trace":  # what argparse does not do for a remainder
        if options.command[:1] == ["--"]:
            del options.command[0]
        if not options.command:
            commands[name].error("the following arguments are required: COMMAND")
    return options


def make_parser() -> argparse.ArgumentParser:
    """Make the parser of the command. `run` names the module of the subcommand."""
    return _make()[0]


def _make() -> tuple[argparse.ArgumentParser, dict[str, Parser]]:
    """Make the parser, and those of the subcommands."""
    parser = Parser(
        prog="procconn",
        description="Process events from the Linux kernel's Proc Connector.",
        epilog="procconn COMMAND --help tells more.",
    )
    parser.add_argument(
        "--version", action="version", version=f"%(prog)s {__version__}"
    )
    commands = parser.add_subparsers(
        required=True,
        metavar="COMMAND",
        dest="subcommand",
        parser_class=Parser,
    )
    _add_watch(commands)
    _add_stat(commands)
    _add_wait(commands)
    _add_trace(commands)
    _add_record(commands)
    _add_ship(commands)
    _add_doctor(commands)
    return parser, commands.choices


def _add(
    commands: Subparsers,
    name: str,
    text: str,
    example: str,
    *,
    is_endless: bool = False,
) -> argparse.ArgumentParser:
    command = commands.add_parser(
        name,
        help=f"{text[0].lower()}{text[1:].partition('.')[0]}",
        description=text,
        epilog=f"example: {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    command.set_defaults(run=f"procconn.cli.{name}", is_endless=is_endless)
    return command


def _add_watch(commands: Subparsers) -> None:
    command = _add(
        commands,
        "watch",
        "Print a line for each event as it happens.",
        "procconn watch --events exec,exit --user www-data",
        is_endless=True,
    )
    _add_selection(command)
    command.add_argument(
        "--latency",
        type=to_seconds,
        default=0.01,
        metavar="SECONDS",
        help="print at most once in so long (default: %(default)s)",
    )
    _add_usage(command, "tell at each exit what was used: CPU and memory")
    _add_json(command, "print a JSON object for each event")
    _add_output(command)
    _add_quiet(command)


def _add_stat(commands: Subparsers) -> None:
    command = _add(
        commands,
        "stat",
        "Count events each second, by kind and by program. A table at the end.",
        "procconn stat --duration 10",
        is_endless=True,
    )
    _add_selection(command)
    _add_json(command, "print a JSON object each second")
    _add_output(command)
    _add_quiet(command)


def _add_wait(commands: Subparsers) -> None:
    command = _add(
        commands,
        "wait",
        "Wait for any processes, and tell how each ended. The exit status is the last\n"
        "one's, 124 if the time was up, 127 if one is not there.",
        "procconn wait --timeout 60 4711",
    )
    command.add_argument("pids", nargs="+", type=to_pid, metavar="PID")
    command.add_argument("--any", action="store_true", help="return at the first end")
    command.add_argument(
        "--timeout",
        type=to_seconds,
        metavar="SECONDS",
        help="give up after that long",
    )
    _add_json(command, "print a JSON object for each process")
    _add_output(command)
    _add_quiet(command)


def _add_trace(commands: Subparsers) -> None:
    command = _add(
        commands,
        "trace",
        "Run a command, and tell what it ran. The exit status is the command's.",
        "procconn trace --show-tree -- make -j2",
    )
    command.add_argument(
        "--show-tree", action="store_true", help="tell of each process, as a tree"
    )
    command.add_argument(
        "--timeline",
        metavar="FILE",
        help="draw what ran when: .svg is a picture, .json a trace for Perfetto",
    )
    _add_usage(command, "tell also what each process used: CPU and memory")
    _add_output(command, "write the summary there, not to standard error")
    _add_quiet(command)
    command.add_argument(
        "command", nargs=argparse.REMAINDER, metavar="COMMAND", help="and its arguments"
    )


def _add_record(commands: Subparsers) -> None:
    command = _add(
        commands,
        "record",
        "Record events, for --input, tshark and others: a pcap file.",
        "procconn record --duration 60 minute.pcap",
        is_endless=True,
    )
    command.add_argument("file", metavar="FILE")
    command.set_defaults(input=None)
    _add_which(command)
    _add_usage(command, "also what each process used; records all threads")
    _add_quiet(command)


def _add_ship(commands: Subparsers) -> None:
    command = _add(
        commands,
        "ship",
        "Send events to NATS JetStream, where those of many machines meet.\n"
        "Who we are is taken from NATS_CREDS, NATS_NKEY, NATS_TOKEN, or NATS_USER and\n"
        "NATS_PASSWORD; certificates from NATS_CA, NATS_CERT and NATS_KEY.",
        "procconn ship nats://localhost --events exec,exit",
        is_endless=True,
    )
    command.set_defaults(run="procconn.ship")
    command.add_argument("server", metavar="SERVER", help="nats://HOST or tls://HOST")
    _add_selection(command)
    _add_usage(command, "tell at each exit what was used: CPU, memory, I/O")
    _add_quiet(command)
    group = command.add_argument_group("how they are sent")
    group.add_argument(
        "--argv", action="store_true", help="also arguments, which may have secrets"
    )
    group.add_argument(
        "--format",
        choices=("json", "ecs"),
        default="json",
        help="lines as those of watch --json, or in the Elastic Common Schema",
    )
    group.add_argument(
        "--host",
        type=to_host,
        metavar="NAME",
        help="in place of this machine's own name",
    )
    group.add_argument(
        "--queue",
        type=to_count,
        metavar="BYTES",
        help="of memory for events that wait for the server (default: 76,000,000)",
    )
    group = command.add_argument_group("the stream, which is made if there is none")
    group.add_argument("--stream", type=to_stream, default="procconn", metavar="NAME")
    group.add_argument(
        "--max-age",
        type=to_age,
        default=604_800,
        metavar="SECONDS",
        help="how long it keeps events; 0 for ever (default: %(default)s, a week)",
    )
    group.add_argument(
        "--max-bytes",
        type=to_size,
        default=-1,
        metavar="BYTES",
        help="how many it keeps, of compressed lines",
    )


def _add_doctor(commands: Subparsers) -> None:
    command = _add(
        commands,
        "doctor",
        "Check whether process events can be had here, and if not, why.\n"
        "The exit status is 1 if there is a problem.",
        "procconn doctor",
    )
    _add_json(command, "print a JSON object")


def _add_selection(command: argparse.ArgumentParser) -> None:
    """Add the options that say which events, and where from."""
    _add_which(command)
    command.add_argument(
        "-i", "--input", metavar="FILE", help="read a recording, not the kernel"
    )


def _add_which(command: argparse.ArgumentParser) -> None:
    _add_kinds(command)
    group = command.add_argument_group("of which processes")
    group.add_argument(
        "-p", "--pid", type=to_possible_pid, metavar="PID", help="this one"
    )
    group.add_argument(
        "--tree",
        type=to_possible_pid,
        metavar="PID",
        help="this one and all that come of it",
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


def _add_kinds(command: argparse.ArgumentParser) -> None:
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


def _add_quiet(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--quiet", action="store_true", help="no warnings about limits"
    )


def _add_usage(command: argparse.ArgumentParser, text: str) -> None:
    command.add_argument("--usage", action="store_true", help=text)


def _add_json(command: argparse.ArgumentParser, text: str) -> None:
    command.add_argument("--json", action="store_true", help=text)


def _add_output(
    command: argparse.ArgumentParser, text: str = "write there, not to standard output"
) -> None:
    command.add_argument("-o", "--output", metavar="FILE", help=text)
