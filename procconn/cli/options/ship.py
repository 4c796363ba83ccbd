"""The options of `procconn ship`."""

from argparse import ArgumentParser

from procconn.cli.options.shared import add_quiet, add_selection, add_usage
from procconn.cli.values import to_age, to_count, to_host, to_size, to_stream

MORE = (
    "\nCredentials come from the environment: NATS_CREDS, NATS_NKEY, NATS_TOKEN, or\n"
    "NATS_USER and NATS_PASSWORD; certificates from NATS_CA, NATS_CERT and NATS_KEY."
)
EXAMPLE = "procconn ship nats://localhost --events exec,exit"


def add_options(command: ArgumentParser) -> None:
    """Add the options to the parser of the subcommand."""
    command.set_defaults(run="procconn.ship", is_endless=True)
    command.add_argument("server", metavar="SERVER", help="nats://HOST or tls://HOST")
    add_selection(command)
    add_usage(command, "add resource usage to each exit: CPU, memory, I/O")
    add_quiet(command)
    group = command.add_argument_group("how events are sent")
    group.add_argument(
        "--argv",
        action="store_true",
        help="include arguments, which may contain secrets",
    )
    group.add_argument(
        "--format",
        choices=("json", "ecs"),
        default="json",
        help="lines as in watch --json, or Elastic Common Schema documents",
    )
    group.add_argument(
        "--host",
        type=to_host,
        metavar="NAME",
        help="host name to send (default: that of this machine)",
    )
    group.add_argument(
        "--queue",
        type=to_count,
        metavar="BYTES",
        help="memory for events while the server is unreachable (default: 76,000,000)",
    )
    group = command.add_argument_group("stream, created if it does not exist")
    group.add_argument(
        "--stream",
        type=to_stream,
        default="procconn",
        metavar="NAME",
        help="its name (default: %(default)s)",
    )
    group.add_argument(
        "--max-age",
        type=to_age,
        default=604_800,
        metavar="SECONDS",
        help="maximum age of events; 0 for no limit (default: %(default)s, a week)",
    )
    group.add_argument(
        "--max-bytes",
        type=to_size,
        default=-1,
        metavar="BYTES",
        help="maximum size, compressed (default: no limit)",
    )
