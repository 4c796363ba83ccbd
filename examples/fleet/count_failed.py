"""Count the programs that failed, on all hosts: `count_failed.py nats://HUB [FILE]`.

The server remembers how far this durable consumer has come, and hands out one batch of
a host at a time, until that is acknowledged. What was counted is in the file before
that, with the number of the batch: after a crash in between, the one that comes again
is known by it and not counted twice. So are all, if somebody deletes the consumer.
"""

import asyncio
import gzip
import json
import os
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import nats
from nats.aio.msg import Msg
from nats.errors import Error
from nats.js import JetStreamContext
from nats.js.api import ConsumerConfig

STREAM, DURABLE, EXITS = "procconn", "count-failed", "procconn.*.exit"


async def count_failed(server: str, path: Path) -> None:
    """Count on, for ever."""
    through, failed = 0, Counter[str]()
    if path.exists():
        kept = json.loads(path.read_text())
        through, failed = kept["through"], Counter(kept["failed"])
    client = await nats.connect(server, max_reconnect_attempts=-1, error_cb=tell)
    config = ConsumerConfig(max_ack_pending=1, ack_wait=10)
    while True:
        try:
            stream = client.jetstream()
            consumer = await stream.pull_subscribe(
                EXITS, DURABLE, STREAM, config=config
            )
            while True:
                message = await next_of(consumer)
                number = message.metadata.sequence.stream
                if number > through:
                    failed.update(failures(message))
                    through = number
                    kept = {"through": through, "failed": failed}
                    replace(path, json.dumps(kept, indent=1))
                await message.ack()
        except Error as error:  # the consumer is gone, or all of the stream or server
            await tell(error)
            await asyncio.sleep(5)


async def next_of(consumer: JetStreamContext.PullSubscription) -> Msg:
    """Wait for a message, as long as there is the consumer."""
    while True:
        try:
            return (await consumer.fetch(timeout=5))[0]
        except TimeoutError:
            await consumer.consumer_info()


def failures(message: Msg) -> Iterator[str]:
    """Tell what failed, of a message of our lines; others are left out."""
    headers = message.headers or {}
    if headers["Procconn-Schema"] != "ecs":
        for event in map(json.loads, gzip.decompress(message.data).splitlines()):
            if event["returncode"]:
                yield f"{event['name'] or '?'} on {headers['Procconn-Host']}"


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
