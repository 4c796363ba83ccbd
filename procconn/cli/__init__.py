"""The `procconn` command. The module of a subcommand is imported when it is called."""

import argparse
import importlib
import warnings
from collections.abc import Sequence
from signal import SIGINT, SIGTERM

from procconn.cli.output import occupy_closed_descriptors
from procconn.cli.parser import parse
from procconn.cli.shutdown import FAILED, Shutdown
from procconn.diagnosis import LimitWarning
from procconn.errors import ProcConnError
from procconn.pipeline.messages import report


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status. Signal handlers are installed.

    Args:
        arguments: the arguments after the program's name; None means sys.argv[1:].
    """
    occupy_closed_descriptors()
    options = parse(arguments)
    shutdown = Shutdown((SIGINT, SIGTERM) if options.is_endless else ())
    shutdown.install()
    try:
        return _run(options, shutdown)
    finally:
        shutdown.ignore_signals()


def _run(options: argparse.Namespace, shutdown: Shutdown) -> int:
    warnings.simplefilter("always", RuntimeWarning)  # at each resubscription
    if getattr(options, "quiet", False):
        warnings.simplefilter("ignore", LimitWarning)
    warnings.showwarning = lambda message, *_, **__: report(str(message))
    try:
        status: int = importlib.import_module(options.run).run(options, shutdown)
        if options.is_endless and shutdown.number:
            status = shutdown.status
    except BrokenPipeError:  # the reader, such as head, closed the pipe
        status = 0
    except OSError as error:
        at = f"{error.filename}: " if error.filename else ""
        report(at + (error.strerror or str(error)))
        status = FAILED
    except (ProcConnError, ValueError) as error:
        report(str(error))
        status = FAILED
    return status
