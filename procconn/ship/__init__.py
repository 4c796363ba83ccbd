"""`procconn ship`: events into a stream of a NATS server with JetStream.

`shipping` reads and stops, `messages` batches lines, `ecs` converts them, `delivery`
has each batch stored once, `server` has the connection's parameters and errors.
"""

import argparse
import asyncio
import gc
import importlib.util

from procconn.pipeline.messages import report
from procconn.pipeline.stop import Signals


def run(options: argparse.Namespace, signals: Signals) -> int:
    """Ship until there were enough events, or a signal arrives."""
    if importlib.util.find_spec("nats") is None:
        report("the NATS client is not installed: pip install 'procconn[nats]'")
        return 2
    from procconn.ship.shipping import Shipping  # noqa: PLC0415 - imports it

    gc.set_threshold(50_000)  # more objects than are in flight, which have no cycles
    return asyncio.run(Shipping(options).run(signals))
