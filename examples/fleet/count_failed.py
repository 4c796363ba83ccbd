"""Count the programs that failed, on all hosts: `count_failed.py nats://HUB [FILE]`.

The server remembers how far this durable consumer has come, and hands out one batch of
a host at a time, until that is acknowledged. What was counted is in the file before
that, with the number of the batch: after a crash in between, the one that comes again
is known by it and not counted twice.
"""

import asyncio
import gzip
import json
import os
import sys
from collections import Counter
from pathlib import Path

import nats
from nats.errors import Error
from nats.js.api import ConsumerConfig

STREAM, DURABLE, EXITS = "procconn", "count-failed", "procconn.*.exit"


async def count_failed(server: str, path: Path) -> None:
    """Count on, for ever."""
    through, failed = 0, Counter[str]()
    if path.exists():
        kept = json.loads(path.read_text())
        through, failed = kept["through"], Counter(kept["failed"])
    client = await nats.connect(server, max_reconnect_attempts=-1, error_cb=tell)
    consumer = await client.jetstream().pull_subscribe(
        EXITS, DURABLE, STREAM, config=ConsumerConfig(max_ack_pending=1, ack_wait=10)
    )
    while True:
        try:
            (message,) = await consumer.fetch(timeout=5)
        except Error:  # nothing came, or the server is away
            continue
        number = message.metadata.sequence.stream
        if number > through:
            host = (message.headers or {})["Procconn-Host"]
            for line in gzip.decompress(message.data).splitlines():
                event = json.loads(line)
                if event["returncode"]:
                    failed[f"{event['name'] or '?'} on {host}"] += 1
            through = number
            replace(path, json.dumps({"through": through, "failed": failed}, indent=1))
        await message.ack()


def replace(path: Path, text: str) -> None:
    """Write a file so that a crash leaves the old one or the new one."""
    fresh = path.with_suffix(".new")
    with fresh.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)


async def tell(error: Exception) -> None:
    """Say what is in the way, in a line."""
    print(error, file=sys.stderr)


if __name__ == "__main__":
    asyncio.run(count_failed(sys.argv[1], Path(*sys.argv[2:] or ["failed.json"])))
