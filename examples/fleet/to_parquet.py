"""Write exits as Parquet, a folder for each hour: `to_parquet.py nats://HUB FOLDER`.

DuckDB, Spark and others read the folder as one table:

    SELECT host, name, count(*) FROM 'FOLDER/*/*.parquet' GROUP BY ALL

Messages are read by their numbers, and the next number is kept in a file behind what
was written. Files are named for the first message that was read for them: after a
crash, those from the next number on are removed, and reading begins there again.
"""

import asyncio
import gzip
import json
import sys
import time
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import nats
import pyarrow as pa
import pyarrow.parquet as pq
from nats.errors import Error
from nats.js import JetStreamContext
from nats.js.api import RawStreamMsg

STREAM, EXITS = "procconn", "procconn.*.exit"
MANY, LONG = 5000, 60.0  # messages, seconds: the most that a file has

SCHEMA = pa.schema(
    [
        ("host", pa.string()),
        ("time", pa.timestamp("us", tz="UTC")),
        ("pid", pa.int64()),
        ("name", pa.string()),
        ("user", pa.string()),
        ("returncode", pa.int32()),
        ("duration", pa.float64()),
    ]
)


async def to_parquet(server: str, folder: Path, long: float = LONG) -> None:
    """Write on, for ever."""
    folder.mkdir(parents=True, exist_ok=True)
    place = folder / "next"
    client = await nats.connect(server, max_reconnect_attempts=-1, error_cb=tell)
    stream = client.jetstream()
    number = int(place.read_text()) if place.exists() else 1
    for path in folder.glob("*/*.parquet"):
        if int(path.stem) >= number:
            path.unlink()
    while True:
        messages = await gather(stream, number, long)
        hours: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
        for row in (row for message in messages for row in rows(message)):
            hours[f"{row['time']:%Y-%m-%dT%H}"].append(row)
        for hour, of_hour in hours.items():
            path = folder / hour / f"{number:020}.parquet"
            path.parent.mkdir(exist_ok=True)
            fresh = path.with_suffix(".new")
            table = pa.Table.from_pylist(of_hour, SCHEMA)
            pq.write_table(table, fresh, compression="zstd")
            fresh.replace(path)
        if messages:
            number = (messages[-1].seq or 0) + 1
            fresh = folder / "next.new"
            fresh.write_text(str(number))
            fresh.replace(place)


async def gather(
    stream: JetStreamContext, number: int, long: float
) -> list[RawStreamMsg]:
    """Take messages from that number on, until there are many or it took long."""
    messages: list[RawStreamMsg] = []
    until = time.monotonic() + long
    while len(messages) < MANY and time.monotonic() < until:
        try:
            message = await stream.get_msg(STREAM, number, EXITS, next=True)
        except Error:  # there is none yet, or the server is away
            await asyncio.sleep(min(1.0, long))
            continue
        messages.append(message)
        number = (message.seq or 0) + 1
    return messages


def rows(message: RawStreamMsg) -> list[dict[str, Any]]:
    """Return the exits that a message tells of; those of other schemas are left out."""
    headers = message.headers or {}
    if headers["Procconn-Schema"] == "ecs":
        return []
    events = map(json.loads, gzip.decompress(message.data or b"").splitlines())
    return [
        {
            **event,
            "host": headers["Procconn-Host"],
            "time": datetime.fromisoformat(event["time"]).astimezone(UTC),
        }
        for event in events
    ]


async def tell(error: Exception) -> None:
    """Say what is in the way, in a line."""
    print(error, file=sys.stderr)


if __name__ == "__main__":
    server, folder, *seconds = sys.argv[1:]
    asyncio.run(to_parquet(server, Path(folder), *map(float, seconds)))
