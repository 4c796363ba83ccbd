"""Have the hub gather the streams of leaves: `gather.py nats://HUB LEAF...`.

A leaf is named by its domain. Again with more names adds those; the others stay.
"""

import asyncio
import sys

import nats
from nats.errors import Error
from nats.js.api import ExternalStream, StreamConfig, StreamSource
from nats.js.errors import NotFoundError

STREAM = "procconn"
MOST = 90_000_000_000  # bytes, of which the oldest go: the store of hub.conf has more


async def gather(hub: str, leaves: list[str]) -> None:
    """Make the hub's stream, or add to it."""
    client = await nats.connect(
        hub, allow_reconnect=False, max_reconnect_attempts=1, error_cb=ignore
    )
    jetstream = client.jetstream()
    try:
        config = (await jetstream.stream_info(STREAM)).config
    except NotFoundError:
        config = StreamConfig(name=STREAM, max_age=30 * 24 * 3600, max_bytes=MOST)
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


async def ignore(error: Exception) -> None:
    """Leave it to what is raised at the end."""


if __name__ == "__main__":
    try:
        asyncio.run(gather(sys.argv[1], sys.argv[2:]))
    except (OSError, Error) as error:
        sys.exit(f"{sys.argv[1]}: {error}")
