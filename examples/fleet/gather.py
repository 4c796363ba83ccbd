"""Make the hub gather the streams of leaves: `gather.py nats://HUB LEAF...`.

A leaf is named by its domain. Run it again with other names to add leaves.
"""

import asyncio
import sys

import nats
from nats.errors import Error
from nats.js.api import ExternalStream, StreamConfig, StreamSource
from nats.js.errors import NotFoundError

STREAM = "procconn"
MAX_BYTES = 90_000_000_000  # of the stream, below the max_file_store of hub.conf


async def gather(hub: str, leaves: list[str]) -> None:
    """Create the hub's stream, or add leaves to it."""
    client = await nats.connect(
        hub, allow_reconnect=False, max_reconnect_attempts=1, error_cb=ignore
    )
    jetstream = client.jetstream()
    try:
        config = (await jetstream.stream_info(STREAM)).config
    except NotFoundError:
        config = StreamConfig(name=STREAM, max_age=30 * 24 * 3600, max_bytes=MAX_BYTES)
        await jetstream.add_stream(config)
    sources = config.sources or []
    present = {source.external.api for source in sources if source.external}
    for leaf in leaves:
        if (api := f"$JS.{leaf}.API") not in present:
            # Explicitly from the first message on: otherwise a hub that restarts
            # before it has any message of the leaf skips to the end of its own stream.
            external = ExternalStream(api=api)
            sources.append(StreamSource(STREAM, opt_start_seq=1, external=external))
    await jetstream.update_stream(config.evolve(sources=sources))
    await client.close()


async def ignore(error: Exception) -> None:
    """Ignore errors of the connection: `gather` raises the final one."""


if __name__ == "__main__":
    try:
        asyncio.run(gather(sys.argv[1], sys.argv[2:]))
    except (OSError, Error) as error:
        sys.exit(f"{sys.argv[1]}: {error}")
