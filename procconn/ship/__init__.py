"""`procconn ship`: events into a stream of a NATS server with JetStream.

One way: `shipping` reads and stops, `messages` makes batches of lines, `ecs` puts them
in other words, `delivery` gets each batch stored once, `server` knows the way to one.
"""

import argparse
import asyncio
import gc
import importlib.util

from procconn.pipeline.messages import report
from procconn.pipeline.stop import Signals


def run(options: argparse.Namespace, signals: Signals) -> int:
    """Ship until there were enough events, or a signal comes."""
    if importlib.util.find_spec("nats") is None:
        report("the client for NATS is not installed: pip install 'procconn[nats]'")
        return 2
    from procconn.ship.shipping import Shipping  # noqa: PLC0415 - imports it

    gc.set_threshold(50_000)  # more than are on their way, which have no cycles
    return asyncio.run(Shipping(options).run(signals))
