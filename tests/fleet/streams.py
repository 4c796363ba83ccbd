"""Read and manage JetStream streams."""

import asyncio
import gzip
import json
import subprocess
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import nats
from nats.errors import Error
from nats.js import JetStreamContext
from nats.js.api import StreamConfig
from nats.js.errors import NotFoundError

from fleet.servers import PATIENCE


@dataclass
class Stored:
    """The records of a stream, in stream order.

    Attributes:
        records: with the host and kind of their subject.
        duplicates: the number of messages with the ID of another one.
        kinds: the number of records of each kind.
        lost: the number of events that are reported as lost.
        headers: those of each message.
    """

    records: list[dict[str, Any]] = field(default_factory=list)
    duplicates: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    lost: int = 0
    headers: list[dict[str, str]] = field(default_factory=list)

    def of(self, kind: str, host: str | None = None) -> list[dict[str, Any]]:
        """Return the records of a kind, of one host or of all."""
        return [
            record
            for record in self.records
            if record["kind"] == kind and host in (None, record["host"])
        ]


def stored(url: str, stream: str = "procconn") -> Stored:
    """Read all records of a stream."""
    return asyncio.run(_stored(url, stream))


def count(url: str, stream: str = "procconn") -> int:
    """Return the number of messages; -1 if the stream or the server does not exist."""

    async def ask() -> int:
        client = await nats.connect(
            url, allow_reconnect=False, max_reconnect_attempts=1, error_cb=_ignore
        )
        try:
            info = await client.jetstream().stream_info(stream)
        except NotFoundError:
            return -1
        finally:
            await client.close()
        return info.state.messages

    try:
        return asyncio.run(ask())
    except (OSError, Error):
        return -1


def settings(url: str, stream: str) -> StreamConfig:
    """Return the configuration of a stream."""

    async def ask() -> StreamConfig:
        client = await nats.connect(url)
        info = await client.jetstream().stream_info(stream)
        await client.close()
        return info.config

    return asyncio.run(ask())


def purge(url: str) -> None:
    """Delete all messages."""
    _manage(url, lambda jetstream: jetstream.purge_stream("procconn"))


def delete(url: str) -> None:
    """Delete the stream."""
    _manage(url, lambda jetstream: jetstream.delete_stream("procconn"))


def delete_consumer(url: str, name: str) -> None:
    """Delete a consumer, and with it its position."""
    _manage(url, lambda jetstream: jetstream.delete_consumer("procconn", name))


def make(url: str, stream: str, subject: str) -> None:
    """Create a stream with one subject."""
    config = StreamConfig(name=stream, subjects=[subject])
    _manage(url, lambda jetstream: jetstream.add_stream(config))


def publish(url: str, subject: str, line: str, headers: dict[str, str]) -> None:
    """Publish a message of one line."""
    data = gzip.compress(line.encode())
    _manage(url, lambda jetstream: jetstream.publish(subject, data, headers=headers))


def _manage(url: str, ask: Callable[[JetStreamContext], Awaitable[object]]) -> None:
    async def managed() -> None:
        client = await nats.connect(url)
        await ask(client.jetstream())
        await client.close()

    asyncio.run(managed())


def wait_for_messages(url: str, least: int = 1) -> None:
    """Run programs until a stream has at least `least` messages."""
    deadline = time.monotonic() + PATIENCE
    while count(url) < least:
        assert time.monotonic() < deadline, (least, asyncio.run(_state(url)))
        subprocess.run(["true"], check=True)  # an idle machine has no events
        time.sleep(0.1)


def wait_for_events(url: str, kind: str, least: int) -> None:
    """Wait until `least` events of a kind are stored or reported as lost."""
    deadline = time.monotonic() + PATIENCE
    while True:
        found = stored(url)
        if (total := found.kinds[kind] + found.lost) >= least:
            return
        assert time.monotonic() < deadline, f"{total} of {least} events"
        time.sleep(0.5)


async def _stored(url: str, stream: str) -> Stored:
    found, ids = Stored(), Counter[str]()
    client = await nats.connect(url)
    jetstream = client.jetstream()
    info = await jetstream.stream_info(stream)
    source = await jetstream.subscribe(">", stream=stream, ordered_consumer=True)
    for _ in range(info.state.messages):
        message = await source.next_msg(timeout=PATIENCE)
        headers = message.headers
        assert headers is not None
        _, host, kind = message.subject.split(".")
        lines = gzip.decompress(message.data).splitlines()
        records = [{"host": host, "kind": kind, **json.loads(it)} for it in lines]
        ids[headers["Nats-Msg-Id"]] += 1
        found.headers.append(headers)
        found.records += records
        found.kinds[kind] += len(records)
        if kind == "lost":
            found.lost += sum(record["count"] for record in records)
    await client.close()
    found.duplicates = ids.total() - len(ids)
    return found


async def _state(url: str) -> str:
    """Return the server's information about the stream, as JSON."""
    client = await nats.connect(url)
    response = await client.request("$JS.API.STREAM.INFO.procconn", timeout=PATIENCE)
    await client.close()
    return response.data.decode()


async def _ignore(error: Exception) -> None:
    del error
