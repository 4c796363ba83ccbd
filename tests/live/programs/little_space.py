"""The command with so little space for events that it loses some while it is stopped.

`ship` prints the lines that it would publish.
"""

import functools
import gzip
import sys

from procconn import ProcConnector
from procconn.cli import main
from procconn.cli.output import Output
from procconn.cli.parser import parse
from procconn.pipeline import source

little = functools.partial(ProcConnector, receive_buffer=131_072)
setattr(source, "ProcConnector", little)  # noqa: B010 - types would object
if sys.argv[1] != "ship":
    sys.exit(main())

from procconn.ship.shipping import Shipping  # noqa: E402 - it takes a while

for batch in Shipping(parse(sys.argv[1:]))._read():
    for message in batch:
        Output().write(gzip.decompress(message.payload).decode())
