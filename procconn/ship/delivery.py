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
from procconn.ship.server import (
    has_no_stream,
    is_away,
    is_cut_off,
    who_we_are,
    why,
)

_IN_FLIGHT = 16  # messages
_PAUSE = 1  # seconds between attempts
_PATIENCE = 30  # seconds for an answer, on a connection that stands
_MOST_CUT_OFF = 2  # new connections in a row, as an end can overtake its reason
_PINGS = 5  # seconds; after two without an answer the connection counts as broken

logging.getLogger("nats").addHandler(logging.NullHandler())  # `report` does


class _Client(Client):
    """One that tells a server without TLS nothing, if it is to use that."""

    def _connect_command(self) -> bytes:  # what says who we are
        if self.options.get("tls"):
            if not self._server_info.get("tls_required"):
                raise Error("it speaks no TLS; nats:// without NATS_CA goes without")
            self._connect_reader()
        return super()._connect_command()

    def _connect_reader(self) -> None:
        """Call connection_made, which loop.start_tls leaves to its caller.

        Without that, the reader of nats-py neither limits what it buffers nor knows
        that TLS has no half-closed connections, of which asyncio warns.
        """
        transport = self._transport._io_writer.transport  # type: ignore[union-attr]
        protocol = transport.get_protocol()
        if not getattr(protocol, "_over_ssl", True):
            protocol.connection_made(transport)


@dataclass
class Delivery:
    """What gets messages stored."""

    settings: dict[str, Any]  # the way to the server
    config: StreamConfig  # how to make the stream if there is none
    group: asyncio.TaskGroup  # has the tasks that are started here
    report: Callable[[str], None]  # of what is in the way, and that it no longer is
    shipped: int = 0  # events that are stored
    _troubles: set[str] = field(default_factory=set)
    _has_worked: bool = False  # a message was stored
    _stream: asyncio.Future[JetStreamContext] = field(default_factory=asyncio.Future)
    _answers: set[asyncio.Task[Any]] = field(default_factory=set)
    _flights: set[asyncio.Task[None]] = field(default_factory=set)

    async def keep_connected(self) -> NoReturn:
        """Connect, and again when it breaks; OSError if it never can work."""
        cut_off = 0
        while True:
            client, closed = _Client(), asyncio.Event()
            try:
                self._stream.set_result(await self._connect(client, closed))
                cut_off = 0
                self._relax()
                await closed.wait()
                self._complain(ConnectionClosedError())
            except (OSError, Error) as error:
                if not (self._has_worked or is_away(error)):
                    raise self._refusal(error) from None
                cut_off = cut_off + 1 if is_cut_off(error) else 0
                if cut_off == 0 or cut_off > _MOST_CUT_OFF:
                    self._complain(error)
            finally:
                with contextlib.suppress(Exception):  # it is given up in any case
                    await asyncio.wait_for(client.close(), _PAUSE)
            if self._stream.done():
                self._stream = asyncio.Future()
            self._break_off()
            await asyncio.sleep(_PAUSE)

    async def send(self, message: Message) -> None:
        """Publish a message; wait while too many are not stored yet."""
        await self.settle(_IN_FLIGHT - 1 if message.events else 0)
        flight = self.group.create_task(self._deliver(message))
        self._flights.add(flight)
        flight.add_done_callback(self._flights.discard)
        if not message.events:
            await self.settle()

    async def settle(self, most: int = 0) -> None:
        """Wait until all messages are stored, but for so many."""
        while len(self._flights) > most:
            await asyncio.wait(self._flights, return_when=asyncio.FIRST_COMPLETED)

    async def _connect(self, client: Client, closed: asyncio.Event) -> JetStreamContext:
        async def on_closed() -> None:
            closed.set()

        async def on_error(error: Exception) -> None:
            # While it connects, `connect` raises the others.
            if client.is_connected or (is_away(error) and not is_cut_off(error)):
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
            **who_we_are(),
        )
        stream = client.jetstream()
        await self._make_stream(stream)
        return stream

    async def _make_stream(self, stream: JetStreamContext) -> None:
        try:
            await stream.stream_info(str(self.config.name))
        except NotFoundError:
            await stream.add_stream(self.config)

    async def _deliver(self, message: Message) -> None:
        failure: Exception | None = None
        while True:
            stream = await asyncio.shield(self._stream)
            try:
                if failure and has_no_stream(failure):  # somebody deleted it
                    await self._make_stream(stream)
                where = _PATIENCE, self.config.name, message.headers
                publish = stream.publish(message.subject, message.payload, *where)
                self._answers.add(answer := asyncio.create_task(publish))
                answer.add_done_callback(self._answers.discard)
                await asyncio.wait((answer,))
                if not answer.cancelled():
                    answer.result()
                    break
            except (OSError, Error) as error:
                if has_no_stream(error) and not self._has_worked:
                    raise self._refusal(error) from None
                failure = error
                if not isinstance(error, ConnectionClosedError):
                    self._complain(error)
                    self._break_off()  # it may answer to none of the others
            await asyncio.sleep(_PAUSE)
        self._has_worked = True
        self.shipped += message.events
        if failure:
            self._relax()

    def _break_off(self) -> None:
        """Have all that is not stored published again."""
        for answer in self._answers:
            answer.cancel()

    def _refusal(self, error: Exception) -> OSError:
        return OSError(f"{self.settings['servers']}: {why(error)}")

    def _complain(self, error: Exception) -> None:
        if (trouble := why(error)) not in self._troubles:
            self.report(f"{self.settings['servers']}: {trouble}; events wait")
        self._troubles.add(trouble)

    def _relax(self) -> None:
        if self._troubles:
            self.report(f"{self.settings['servers']}: it works again")
        self._troubles.clear()
