"""`procconn ship`: publish events to a stream of NATS JetStream.

`shipping` reads events and handles signals, `messages` batches their lines, `ecs`
converts lines, `delivery` publishes messages until they are stored, `server` has
connection parameters and error messages.
"""

import argparse
import asyncio
import gc
import importlib.util

from procconn.pipeline.messages import report
from procconn.pipeline.stop import Signals


def run(options: argparse.Namespace, signals: Signals) -> int:
    """Ship events until the duration or count is reached, or a signal arrives."""
    if importlib.util.find_spec("nats") is None:
        report("the NATS client is not installed: pip install 'procconn[nats]'")
        return 2
    from procconn.ship.shipping import Shipping  # noqa: PLC0415 - imports nats

    gc.set_threshold(50_000)  # above the number of objects in flight, all acyclic
    return asyncio.run(Shipping(options).run(signals))
