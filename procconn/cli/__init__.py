"""The `procconn` command. Each subcommand is a module, loaded when it is called."""

import argparse
import importlib
import warnings
from collections.abc import Sequence
from signal import SIGINT, SIGTERM

from procconn.cli.ending import Ended, the_ending
from procconn.cli.output import occupy_closed_descriptors, tell
from procconn.cli.parser import parse
from procconn.diagnosis import LimitWarning
from procconn.errors import ProcConnError

_FAILED = 2  # also what argparse exits with
_OF_SIGNALS = 128  # and the number: what a shell shows


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status. For a process of its own.

    Args:
        arguments: those behind the program's name; None takes the process's own.
    """
    occupy_closed_descriptors()
    options = parse(arguments)
    try:
        the_ending.prepare()
        status = _run(options)
        the_ending.interrupts = False
    except Ended:
        the_ending.interrupts = False
        status = _status_of_signal(options)
    the_ending.be_deaf()
    return status


def _run(options: argparse.Namespace) -> int:
    warnings.simplefilter("always", RuntimeWarning)  # each renewal of a subscription
    if getattr(options, "quiet", False):
        warnings.simplefilter("ignore", LimitWarning)
    warnings.showwarning = lambda message, *_, **__: tell(str(message))
    try:
        status: int = importlib.import_module(options.run).run(options)
        if options.is_endless and the_ending.number:
            status = _status_of_signal(options)
    except Ended:
        if the_ending.is_held:
            tell(
                "what happened last is not told: the output took nothing more, or"
                " another signal came"
            )
        raise
    except BrokenPipeError:  # whoever read has seen enough
        status = 0
    except OSError as error:
        at = f"{error.filename}: " if error.filename else ""
        tell(at + (error.strerror or str(error)))
        status = _FAILED
    except (ProcConnError, ValueError) as error:
        tell(str(error))
        status = _FAILED
    return status


def _status_of_signal(options: argparse.Namespace) -> int:
    is_expected = options.is_endless and the_ending.number in (SIGINT, SIGTERM)
    return 0 if is_expected else _OF_SIGNALS + the_ending.number
