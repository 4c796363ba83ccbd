"""Deliver messages to JetStream, despite lost connections.

A message is republished with the same Nats-Msg-Id until the server acknowledges that it
is stored. The stream discards duplicates within its duplicate window, usually two
minutes. So a message is stored twice only if its acknowledgement was lost and the
server was unreachable for longer.

The reconnect logic of nats-py is disabled, because some errors end it permanently.
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
    credentials,
    explain,
    has_no_stream,
    is_connection_reset,
    is_unreachable,
)

_MAX_IN_FLIGHT = 16  # messages
_RETRY_DELAY = 1  # seconds between attempts
_ACK_TIMEOUT = 30  # seconds to wait for an acknowledgement while connected
_MAX_RESETS = 2  # in succession; a reset may discard the -ERR that explains it
_PING_INTERVAL = 5  # seconds; two without a PONG mean that the connection is lost
_NO_TLS = (
    "the server does not offer TLS; to connect without it, use nats:// and unset"
    " NATS_CA, NATS_CERT and NATS_KEY"
)

# nats-py also logs the errors that are reported here; keep them off standard error.
logging.getLogger("nats").addHandler(logging.NullHandler())


class _Client(Client):
    """A client that never sends credentials in plain text if TLS is configured."""

    def _connect_command(self) -> bytes:  # CONNECT has the credentials
        if self.options.get("tls"):
            if not self._server_info.get("tls_required"):
                raise Error(_NO_TLS)
            self._connect_reader()
        return super()._connect_command()

    def _connect_reader(self) -> None:
        """Call connection_made(), which loop.start_tls() omits.

        Otherwise the StreamReader has no transport: it cannot pause reading, and its
        protocol keeps TLS connections half open after EOF, about which asyncio warns.
        """
        transport = self._transport._io_writer.transport  # type: ignore[union-attr]
        protocol = transport.get_protocol()
        if not getattr(protocol, "_over_ssl", True):
            protocol.connection_made(transport)


@dataclass
class Delivery:
    """Connects to a server, and publishes messages until they are stored."""

    settings: dict[str, Any]  # parameters of `Client.connect`
    config: StreamConfig  # of the stream, which is created if it does not exist
    group: asyncio.TaskGroup  # owns the tasks that are started here
    report: Callable[[str], None]  # called with errors, and after recovery
    shipped: int = 0  # number of stored events
    _reported: set[str] = field(default_factory=set)  # errors since the last recovery
    _has_stored: bool = False  # at least one message
    _stream: asyncio.Future[JetStreamContext] = field(default_factory=asyncio.Future)
    _publishing: set[asyncio.Task[Any]] = field(default_factory=set)
    _in_flight: set[asyncio.Task[None]] = field(default_factory=set)

    async def keep_connected(self) -> NoReturn:
        """Connect and reconnect. Raises OSError if retrying is pointless."""
        resets = 0
        while True:
            client, closed = _Client(), asyncio.Event()
            try:
                self._stream.set_result(await self._connect(client, closed))
                resets = 0
                self._report_recovery()
                await closed.wait()
                self._report_error(ConnectionClosedError())
            except (OSError, Error) as error:
                if not (self._has_stored or is_unreachable(error)):
                    raise self._fatal_error(error) from None
                resets = resets + 1 if is_connection_reset(error) else 0
                if resets == 0 or resets > _MAX_RESETS:
                    self._report_error(error)
            finally:
                with contextlib.suppress(Exception):  # the client is discarded
                    await asyncio.wait_for(client.close(), _RETRY_DELAY)
            if self._stream.done():
                self._stream = asyncio.Future()
            self._republish()
            await asyncio.sleep(_RETRY_DELAY)

    async def send(self, message: Message) -> None:
        """Publish a message; wait while too many are in flight."""
        await self.flush(_MAX_IN_FLIGHT - 1 if message.events else 0)
        task = self.group.create_task(self._deliver(message))
        self._in_flight.add(task)
        task.add_done_callback(self._in_flight.discard)
        if not message.events:
            await self.flush()

    async def flush(self, limit: int = 0) -> None:
        """Wait until at most `limit` messages are in flight."""
        while len(self._in_flight) > limit:
            await asyncio.wait(self._in_flight, return_when=asyncio.FIRST_COMPLETED)

    async def _connect(self, client: Client, closed: asyncio.Event) -> JetStreamContext:
        async def on_closed() -> None:
            closed.set()

        async def on_error(error: Exception) -> None:
            # Other errors while connecting are raised by connect().
            if client.is_connected or (
                is_unreachable(error) and not is_connection_reset(error)
            ):
                self._report_error(error)

        await client.connect(
            name="procconn ship",
            allow_reconnect=False,
            max_reconnect_attempts=-1,  # until the first connection
            reconnect_time_wait=_RETRY_DELAY,
            ping_interval=_PING_INTERVAL,
            closed_cb=on_closed,
            error_cb=on_error,
            **self.settings,
            **credentials(),
        )
        stream = client.jetstream()
        await self._create_stream(stream)
        return stream

    async def _create_stream(self, stream: JetStreamContext) -> None:
        try:
            await stream.stream_info(str(self.config.name))
        except NotFoundError:
            await stream.add_stream(self.config)

    async def _deliver(self, message: Message) -> None:
        failure: Exception | None = None
        while True:
            stream = await asyncio.shield(self._stream)
            try:
                if failure and has_no_stream(failure):  # the stream was deleted
                    await self._create_stream(stream)
                options = _ACK_TIMEOUT, self.config.name, message.headers
                publish = stream.publish(message.subject, message.payload, *options)
                self._publishing.add(task := asyncio.create_task(publish))
                task.add_done_callback(self._publishing.discard)
                await asyncio.wait((task,))
                if not task.cancelled():
                    task.result()
                    break
            except (OSError, Error) as error:
                if has_no_stream(error) and not self._has_stored:
                    raise self._fatal_error(error) from None
                failure = error
                if not isinstance(error, ConnectionClosedError):
                    self._report_error(error)
                    self._republish()  # other acknowledgements may be lost, too
            await asyncio.sleep(_RETRY_DELAY)
        self._has_stored = True
        self.shipped += message.events
        if failure:
            self._report_recovery()

    def _republish(self) -> None:
        """Republish all messages in flight."""
        for task in self._publishing:
            task.cancel()

    def _fatal_error(self, error: Exception) -> OSError:
        return OSError(f"{self.settings['servers']}: {explain(error)}")

    def _report_error(self, error: Exception) -> None:
        if (message := explain(error)) not in self._reported:
            self.report(f"{self.settings['servers']}: {message}; events are queued")
        self._reported.add(message)

    def _report_recovery(self) -> None:
        if self._reported:
            servers = self.settings["servers"]
            self.report(f"{servers}: recovered; queued events are being delivered")
        self._reported.clear()
