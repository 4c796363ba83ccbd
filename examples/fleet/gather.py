"""Have the hub gather the streams of leaves: `gather.py nats://HUB LEAF...`.

A leaf is named by its domain. Again with more names adds those; the others stay.
"""

import asyncio
import sys

import nats
from nats.js.api import ExternalStream, StreamConfig, StreamSource
from nats.js.errors import NotFoundError

STREAM = "procconn"


async def gather(hub: str, leaves: list[str]) -> None:
    """Make the hub's stream, or add to it."""
    client = await nats.connect(hub)
    jetstream = client.jetstream()
    try:
        config = (await jetstream.stream_info(STREAM)).config
    except NotFoundError:
        config = StreamConfig(name=STREAM, max_age=30 * 24 * 3600)
        await jetstream.add_stream(config)
    known = config.sources or []
    there = {source.external.api for source in known if source.external}
    for leaf in leaves:
        if (api := f"$JS.{leaf}.API") not in there:
            # From the first message on, also if the hub is started anew before it has
            # any of that leaf: else it would go on where its own stream ends.
            external = ExternalStream(api=api)
            known.append(StreamSource(STREAM, opt_start_seq=1, external=external))
    await jetstream.update_stream(config.evolve(sources=known))
    await client.close()


if __name__ == "__main__":
    asyncio.run(gather(sys.argv[1], sys.argv[2:]))
