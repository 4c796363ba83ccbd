"""Write exits to Parquet, a directory for each hour: `to_parquet.py nats://HUB FOLDER`.

DuckDB, Spark and others read the folder as one table:

    SELECT host, name, count(*) FROM 'FOLDER/*/*.parquet' GROUP BY ALL

Messages are read by sequence number. The next number is stored in a file after the
Parquet files were written, which are named for the first message read for them. After a
crash, files from that number on are removed, and reading continues there.
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
MAX_MESSAGES, MAX_SECONDS = 5000, 60.0  # for each file

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


async def to_parquet(server: str, folder: Path, seconds: float = MAX_SECONDS) -> None:
    """Write Parquet files until interrupted."""
    folder.mkdir(parents=True, exist_ok=True)
    position = folder / "next"
    client = await nats.connect(server, max_reconnect_attempts=-1, error_cb=report)
    stream = client.jetstream()
    number = int(position.read_text()) if position.exists() else 1
    for path in folder.glob("*/*.parquet"):
        if int(path.stem) >= number:
            path.unlink()
    while True:
        messages = await fetch(stream, number, seconds)
        hours: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
        for row in (row for message in messages for row in rows(message)):
            hours[f"{row['time']:%Y-%m-%dT%H}"].append(row)
        for hour, hour_rows in hours.items():
            path = folder / hour / f"{number:020}.parquet"
            path.parent.mkdir(exist_ok=True)
            new = path.with_suffix(".new")
            table = pa.Table.from_pylist(hour_rows, SCHEMA)
            pq.write_table(table, new, compression="zstd")
            new.replace(path)
        if messages:
            number = (messages[-1].seq or 0) + 1
            new = folder / "next.new"
            new.write_text(str(number))
            new.replace(position)


async def fetch(
    stream: JetStreamContext, number: int, seconds: float
) -> list[RawStreamMsg]:
    """Return messages from a number on, up to the maximum count or time."""
    messages: list[RawStreamMsg] = []
    deadline = time.monotonic() + seconds
    while len(messages) < MAX_MESSAGES and time.monotonic() < deadline:
        try:
            message = await stream.get_msg(STREAM, number, EXITS, next=True)
        except Error:  # no message yet, or no server
            await asyncio.sleep(min(1.0, seconds))
            continue
        messages.append(message)
        number = (message.seq or 0) + 1
    return messages


def rows(message: RawStreamMsg) -> list[dict[str, Any]]:
    """Return a row for each exit in a message; none for other schemas."""
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


async def report(error: Exception) -> None:
    """Print an error on standard error."""
    print(error, file=sys.stderr)


if __name__ == "__main__":
    server, folder, *seconds = sys.argv[1:]
    asyncio.run(to_parquet(server, Path(folder), *map(float, seconds)))
