"""The `procconn` command."""

import argparse
import contextlib
import sys
import warnings
from collections.abc import Sequence
from signal import SIGINT, SIGTERM

from procconn import EventMask, ProcConnError, __version__
from procconn.cli import doctor, watch
from procconn.cli.ending import Ended, Ending

_FAILED = 2  # also what argparse exits with
_OF_SIGNALS = 128  # and the number: what a shell shows


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status. For a process of its own.

    Args:
        arguments: those behind the program's name; None takes the process's own.
    """
    options = _parser().parse_args(arguments)
    if sys.stdout is None:  # its descriptor is the next one to be opened
        _tell("standard output is closed; redirect it to /dev/null if it is not wanted")
        return _FAILED
    ending = Ending()
    try:
        ending.prepare()
        status = _run(options)
        ending.interrupts = False
    except Ended:
        ending.interrupts = False
        is_expected = options.is_endless and ending.number in (SIGINT, SIGTERM)
        status = 0 if is_expected else _OF_SIGNALS + ending.number
    ending.be_deaf()
    return status


def _run(options: argparse.Namespace) -> int:
    warnings.simplefilter("always", RuntimeWarning)  # each renewal of a subscription
    warnings.showwarning = lambda message, *_, **__: _tell(str(message))
    try:
        status: int = options.run(options)
    except BrokenPipeError:  # whoever read has seen enough
        status = 0
    except OSError as error:
        _tell(error.strerror or str(error))
        status = _FAILED
    except (ProcConnError, ValueError) as error:
        _tell(str(error))
        status = _FAILED
    return status


def _tell(message: str) -> None:
    if sys.stderr is not None:  # else print() writes to standard output
        with contextlib.suppress(OSError):  # such as a terminal that is gone
            print(f"procconn: {message}", file=sys.stderr)


def _watch(options: argparse.Namespace) -> int:
    watch.run(
        tell=_tell,
        mask=options.events,
        threads=options.threads,
        count=options.count,
        duration=options.duration,
        latency=options.latency,
        json=options.json,
    )
    return 0


def _doctor(options: argparse.Namespace) -> int:
    return 0 if doctor.run(as_json=options.json) else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="procconn",
        description="Process events from the Linux kernel's Proc Connector.",
    )
    parser.add_argument(
        "--version", action="version", version=f"%(prog)s {__version__}"
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    command = commands.add_parser(
        "watch",
        help="print one line for each event as it happens",
        description="Print one line for each event as it happens, until Ctrl-C.",
        epilog="A command is shown as /proc has it when the line is printed. While the"
        " output is blocked, about 1,000,000 events wait in memory and the kernel's"
        " buffer takes the next; what is lost after that is counted and told. Ended by"
        " Ctrl-C or SIGTERM, the exit status is 0; by another signal, 128 and its"
        " number.",
    )
    command.set_defaults(run=_watch, is_endless=True)
    command.add_argument(
        "--events",
        type=_mask,
        default=EventMask.ALL,
        metavar="LIST",
        help=f"only these, separated by commas: {', '.join(_NAMES)}",
    )
    command.add_argument(
        "--threads",
        action="store_true",
        help="also events of threads other than a process's first",
    )
    command.add_argument(
        "--count", type=_count, metavar="N", help="stop after N events"
    )
    command.add_argument(
        "--duration", type=_seconds, metavar="SECONDS", help="stop after that long"
    )
    command.add_argument(
        "--latency",
        type=_seconds,
        default=0.01,
        metavar="SECONDS",
        help="how long events may gather before they are printed together"
        " (default: %(default)s)",
    )
    command.add_argument(
        "--json", action="store_true", help="print one JSON object for each event"
    )

    command = commands.add_parser(
        "doctor",
        help="check whether process events can be had here",
        description="Check everything that process events depend on. The exit status"
        " is 1 if there is a problem.",
    )
    command.set_defaults(run=_doctor, is_endless=False)
    command.add_argument("--json", action="store_true", help="print a JSON object")
    return parser


_NAMES = {
    str(member.name).lower().replace("_", "-"): member
    for member in EventMask  # its members of one bit
}


def _mask(text: str) -> EventMask:
    mask = EventMask.NONE
    for name in text.split(","):
        if name.strip().lower() not in _NAMES:
            raise argparse.ArgumentTypeError(
                f"unknown event {name.strip()!r}; choose from {', '.join(_NAMES)}"
            )
        mask |= _NAMES[name.strip().lower()]
    return mask


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 on")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds")
    return seconds
