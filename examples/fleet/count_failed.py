"""Count the programs that failed, on all hosts: `count_failed.py nats://HUB [FILE]`.

The server stores the position of this durable consumer, and delivers one message at a
time until it is acknowledged. Before acknowledging a message, the counts are written to
the file, with the sequence number of the message. So a message that is delivered again,
after a crash or because the consumer was deleted, is not counted twice.
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
    """Count until interrupted."""
    through, failed = 0, Counter[str]()
    if path.exists():
        state = json.loads(path.read_text())
        through, failed = state["through"], Counter(state["failed"])
    client = await nats.connect(server, max_reconnect_attempts=-1, error_cb=report)
    config = ConsumerConfig(max_ack_pending=1, ack_wait=10)
    while True:
        try:
            stream = client.jetstream()
            consumer = await stream.pull_subscribe(
                EXITS, DURABLE, STREAM, config=config
            )
            while True:
                message = await next_message(consumer)
                sequence = message.metadata.sequence.stream
                if sequence > through:
                    failed.update(failures(message))
                    through = sequence
                    state = {"through": through, "failed": failed}
                    replace(path, json.dumps(state, indent=1))
                await message.ack()
        except Error as error:  # no such consumer or stream, or no server
            await report(error)
            await asyncio.sleep(5)


async def next_message(consumer: JetStreamContext.PullSubscription) -> Msg:
    """Wait for a message, as long as the consumer exists."""
    while True:
        try:
            return (await consumer.fetch(timeout=5))[0]
        except TimeoutError:
            await consumer.consumer_info()


def failures(message: Msg) -> Iterator[str]:
    """Yield program and host of each failure; none for other schemas."""
    headers = message.headers or {}
    if headers["Procconn-Schema"] != "ecs":
        for event in map(json.loads, gzip.decompress(message.data).splitlines()):
            if event["returncode"]:
                yield f"{event['name'] or '?'} on {headers['Procconn-Host']}"


def replace(path: Path, text: str) -> None:
    """Replace a file atomically: after a crash it is the old one or the new one."""
    new = path.with_suffix(".new")
    with new.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)


async def report(error: Exception) -> None:
    """Print an error on standard error."""
    print(error, file=sys.stderr)


if __name__ == "__main__":
    asyncio.run(count_failed(sys.argv[1], Path(*sys.argv[2:] or ["failed.json"])))
