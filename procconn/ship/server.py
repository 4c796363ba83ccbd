"""The connection to a server: URL, TLS, credentials, and messages for its errors."""

import contextlib
import re
import socket
import ssl
from collections.abc import Iterator
from os import environ
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from nats import errors
from nats.aio.client import RawCredentials
from nats.js.errors import APIError, NoStreamResponseError, ServiceUnavailableError

_NAMES = {"NATS_TOKEN": "token", "NATS_USER": "user", "NATS_PASSWORD": "password"}
_SEED = "SU[A-D][A-Z2-7]{55}"  # base32 of two prefix bytes, a 32-byte key and a CRC
_CREDS = rf"BEGIN NATS USER JWT-*\n\S+\n.*BEGIN USER NKEY SEED-*\n{_SEED}\n-"
_FILES = {
    "NATS_CREDS": ("user_credentials", RawCredentials, _CREDS),
    "NATS_NKEY": ("nkeys_seed_str", str, rf"\A\s*{_SEED}\s*\Z"),
}
_TLS_NAMES = {"NATS_CA", "NATS_CERT", "NATS_KEY"}
_SET_CREDENTIALS = (
    "set NATS_CREDS, NATS_NKEY, NATS_TOKEN, or NATS_USER and NATS_PASSWORD"
)
_REFUSED = "Connect call failed"  # asyncio's message for one or several addresses
_RESET = (ConnectionResetError, BrokenPipeError, errors.UnexpectedEOF)
_CLOSED = (errors.UnexpectedEOF, errors.ConnectionClosedError)
_UNREACHABLE = (ConnectionError, TimeoutError, socket.gaierror, *_CLOSED)
_SUBJECT_OVERLAP = 10_060  # JetStream's error code if another stream has the subject
_NO_STREAM = (
    "the stream does not accept procconn.>; choose another with --stream, or delete it"
)
_MESSAGES: dict[type[Exception], str] = {
    ssl.SSLCertVerificationError: "TLS verification failed: {0.verify_message}"
    " (trusting NATS_CA or the system store)",
    socket.gaierror: "cannot resolve the host name ({0.strerror})",
    errors.MaxPayloadError: "a message exceeds the server's max_payload; set it to 1MB",
    ServiceUnavailableError: "JetStream is not enabled for this account; add"
    " jetstream {{}} to the server's configuration",
    TimeoutError: "the server does not respond",
}


def settings_for(url: str) -> dict[str, Any]:
    """Return the parameters of `Client.connect` for a server.

    Raises:
        ValueError: the URL is invalid, or contains credentials, which `ps` would show.
        OSError: a file named in the environment cannot be used.
    """
    try:
        parts = urlsplit(url)
        host, _ = (parts.hostname or "").encode("idna"), parts.port  # both validate
    except ValueError:
        host = b""
    if not host or parts.scheme not in ("nats", "tls"):
        raise ValueError(f"{url!r} is not a server URL; use nats://HOST or tls://HOST")
    if parts.username is not None:
        text = "credentials in a URL are visible to all users"
        raise ValueError(f"{text}; {_SET_CREDENTIALS}")
    settings: dict[str, Any] = {"servers": url}
    if parts.scheme == "tls" or _TLS_NAMES & environ.keys():
        with _naming("NATS_CA"):
            tls = ssl.create_default_context(cafile=environ.get("NATS_CA"))
        if "NATS_CERT" in environ:
            with _naming("NATS_CERT", "NATS_KEY"):
                tls.load_cert_chain(environ["NATS_CERT"], environ.get("NATS_KEY"))
        settings["tls"] = tls
    return settings


def credentials() -> dict[str, Any]:
    """Return the parameters of `Client.connect` for the credentials.

    Call it for each connection, as the files may have been renewed.

    Raises:
        OSError: a file cannot be used.
    """
    found: dict[str, Any] = {_NAMES[it]: environ[it] for it in _NAMES.keys() & environ}
    for name in _FILES.keys() & environ:
        parameter, kind, pattern = _FILES[name]
        with _naming(name):
            text = Path(environ[name]).read_text(errors="replace")
            if not re.search(pattern, text, re.DOTALL):
                raise OSError("not a user's key or credentials file of nk or nsc")
        found[parameter] = kind(text.strip())
    return found


def is_unreachable(error: Exception) -> bool:
    """Return whether a retry may succeed without a change of the configuration."""
    return isinstance(error, _UNREACHABLE) or _REFUSED in str(error)


def is_connection_reset(error: Exception) -> bool:
    """Return whether the connection was reset, perhaps before its error was read."""
    return isinstance(error, _RESET) and _REFUSED not in str(error)


def has_no_stream(error: Exception) -> bool:
    """Return whether the stream does not exist or lacks the subjects procconn.>."""
    is_overlap = getattr(error, "err_code", None) == _SUBJECT_OVERLAP
    return isinstance(error, NoStreamResponseError) or is_overlap


def explain(error: Exception) -> str:
    """Return a message for an error: what is wrong, and what to do."""
    text = str(error).removeprefix("nats: ").strip("'\" ")
    if has_no_stream(error):
        return _NO_STREAM
    if isinstance(error, APIError) and error.description:
        return f"JetStream error: {error.description}"
    for kind, message in _MESSAGES.items():
        if isinstance(error, kind):
            return message.format(error)
    if "uthoriz" in text:
        return f"authentication failed ({text}); {_SET_CREDENTIALS}"
    if _REFUSED in text:
        return "connection refused"
    return "connection lost" if is_unreachable(error) else text


@contextlib.contextmanager
def _naming(*names: str) -> Iterator[None]:
    """Prefix OSErrors with the variables and the files that they name."""
    try:
        yield
    except OSError as error:
        files = ", ".join(f"{it} ({environ[it]})" for it in names if it in environ)
        raise OSError(f"{files}: {error.strerror or error}") from None
