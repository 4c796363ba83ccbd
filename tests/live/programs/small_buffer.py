"""Run the command with a receive buffer so small that it overruns while stopped.

`ship` prints the lines instead of publishing them.
"""

import functools
import gzip
import sys

from procconn import ProcConnector
from procconn.cli import main
from procconn.cli.output import Output
from procconn.cli.parser import parse
from procconn.pipeline import source

small = functools.partial(ProcConnector, receive_buffer=131_072)
setattr(source, "ProcConnector", small)  # noqa: B010 - an assignment fails mypy
if sys.argv[1] != "ship":
    sys.exit(main())

from procconn.ship.shipping import Shipping  # noqa: E402 - a slow import

for batch in Shipping(parse(sys.argv[1:]))._read():
    for message in batch:
        Output().write(gzip.decompress(message.payload).decode())
