"""Messages to JetStream, each stored once, whatever becomes of connections.

A message is published again, with the same id, until the server says that it is stored.
The stream knows the ids of its last two minutes, or what else its window of duplicates
is, and stores none of them again. So a message is stored twice only where the answer
was lost and the server away for longer than that.

The client's own reconnecting is not used: some errors end it for good.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NoReturn

from nats.aio.client import Client
from nats.errors import ConnectionClosedError, Error
from nats.js import JetStreamContext
from nats.js.api import StreamConfig
from nats.js.errors import NotFoundError

from procconn.ship.messages import Message
from procconn.ship.server import is_away, why

_IN_FLIGHT = 16  # messages
_PAUSE = 1  # seconds between attempts
_PATIENCE = 30  # seconds for an answer, on a connection that stands
_PINGS = 5  # seconds; after two without an answer the connection counts as broken

logging.getLogger("nats").addHandler(logging.NullHandler())  # `tell` tells it


@dataclass
class Delivery:
    """What gets messages stored.

    Attributes:
        settings: the way to the server.
        config: how to make the stream if there is none.
        group: has the tasks that are started here.
        tell: tells people what is in the way.
        shipped: how many events are stored.
    """

    settings: dict[str, Any]
    config: StreamConfig
    group: asyncio.TaskGroup
    tell: Callable[[str], None]
    shipped: int = 0
    _troubles: set[str] = field(default_factory=set)
    _has_worked: bool = False
    _stream: asyncio.Future[JetStreamContext] = field(default_factory=asyncio.Future)
    _broken: asyncio.Future[None] = field(default_factory=asyncio.Future)
    _flights: set[asyncio.Task[None]] = field(default_factory=set)

    async def keep_connected(self) -> NoReturn:
        """Connect, and again whenever the connection breaks.

        Raises:
            OSError: the first connection cannot work unless something is changed.
        """
        while True:
            client, closed = Client(), asyncio.Event()
            try:
                self._stream.set_result(await self._connect(client, closed))
                self._has_worked = True
                self._relax()
                await closed.wait()
                self._complain(ConnectionClosedError())
            except (OSError, Error) as error:
                if not (self._has_worked or is_away(error)):
                    raise OSError(f"{self.settings['servers']}: {why(error)}") from None
                self._complain(error)
            finally:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(client.close(), _PAUSE)
            if self._stream.done():
                self._stream = asyncio.Future()
            self._break_off()
            await asyncio.sleep(_PAUSE)

    async def send(self, message: Message) -> None:
        """Publish a message; wait while too many are not stored yet."""
        await self.settle(0 if message.is_alone else _IN_FLIGHT - 1)
        flight = self.group.create_task(self._deliver(message))
        self._flights.add(flight)
        flight.add_done_callback(self._flights.discard)
        if message.is_alone:
            await self.settle()

    async def settle(self, most: int = 0) -> None:
        """Wait until all messages are stored, but for so many."""
        while len(self._flights) > most:
            await asyncio.wait(self._flights, return_when=asyncio.FIRST_COMPLETED)

    async def _connect(self, client: Client, closed: asyncio.Event) -> JetStreamContext:
        async def on_closed() -> None:
            closed.set()

        async def on_error(error: Exception) -> None:
            if client.is_connected or is_away(error):  # else `connect` raises it
                self._complain(error)

        await client.connect(
            name="procconn ship",
            allow_reconnect=False,
            max_reconnect_attempts=-1,  # of the first connection, while nobody listens
            reconnect_time_wait=_PAUSE,
            ping_interval=_PINGS,
            closed_cb=on_closed,
            error_cb=on_error,
            **self.settings,
        )
        if "tls" in self.settings and not client._server_info.get("tls_required"):
            raise Error("it speaks no TLS; nats:// without NATS_CA goes without")
        stream = client.jetstream()
        try:
            await stream.stream_info(str(self.config.name))
        except NotFoundError:
            await stream.add_stream(self.config)
        return stream

    async def _deliver(self, message: Message) -> None:
        has_failed = False
        while True:
            stream = await asyncio.shield(self._stream)
            try:
                await self._publish(stream, message)
                break
            except (OSError, Error) as error:
                has_failed = True
                if not isinstance(error, ConnectionClosedError):
                    self._complain(error)
                    self._break_off()  # it may answer to none of the others
            await asyncio.sleep(_PAUSE)
        self.shipped += message.events
        if has_failed:
            self._relax()

    async def _publish(self, stream: JetStreamContext, message: Message) -> None:
        subject, payload, headers = message[:3]
        name, broken = self.config.name, self._broken
        publish = stream.publish(subject, payload, _PATIENCE, name, headers)
        answer = asyncio.create_task(publish)
        await asyncio.wait((answer, broken), return_when=asyncio.FIRST_COMPLETED)
        if not answer.done():
            answer.cancel()
            raise ConnectionClosedError
        answer.result()

    def _break_off(self) -> None:
        """Have all that is not stored published again."""
        self._broken.set_result(None)
        self._broken = asyncio.Future()

    def _complain(self, error: Exception) -> None:
        if (trouble := why(error)) not in self._troubles:
            self.tell(f"{self.settings['servers']}: {trouble}; events wait")
        self._troubles.add(trouble)

    def _relax(self) -> None:
        if self._troubles:
            self.tell(f"{self.settings['servers']}: it works again")
        self._troubles.clear()
