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
    """Add them to the parser of the subcommand."""
    command.set_defaults(run="procconn.ship", is_endless=True)
    command.add_argument("server", metavar="SERVER", help="nats://HOST or tls://HOST")
    add_selection(command)
    add_usage(command, "report at each exit what was used: CPU, memory, I/O")
    add_quiet(command)
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
