"""The connection to a server: address, TLS, credentials, and what errors mean."""

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
_SEED = "SU[A-D][A-Z2-7]{55}"  # base 32: the kinds of key, 32 bytes and their checksum
_CREDS = rf"BEGIN NATS USER JWT-*\n\S+\n.*BEGIN USER NKEY SEED-*\n{_SEED}\n-"
_FILES = {
    "NATS_CREDS": ("user_credentials", RawCredentials, _CREDS),
    "NATS_NKEY": ("nkeys_seed_str", str, rf"\A\s*{_SEED}\s*\Z"),
}
_TLS_NAMES = {"NATS_CA", "NATS_CERT", "NATS_KEY"}
_CREDENTIALS = (
    "NATS_CREDS, NATS_NKEY, NATS_TOKEN, or NATS_USER and NATS_PASSWORD say who"
)
_REFUSED = "Connect call failed"  # asyncio's message, also for several addresses
_RESET = (ConnectionResetError, BrokenPipeError, errors.UnexpectedEOF)
_CLOSED = (errors.UnexpectedEOF, errors.ConnectionClosedError)
_UNREACHABLE = (ConnectionError, TimeoutError, socket.gaierror, *_CLOSED)
_SUBJECT_OVERLAP = 10_060  # JetStream's error code if another stream has the subject
_NO_STREAM = "that stream takes no procconn.>; --stream names another, or delete it"
_MEANINGS: dict[type[Exception], str] = {
    ssl.SSLCertVerificationError: "its certificate is not good ({0.verify_message}),"
    " judged by NATS_CA or what this machine trusts",
    socket.gaierror: "its name is not found ({0.strerror})",
    errors.MaxPayloadError: "its max_payload is less than a message; set 1MB there",
    ServiceUnavailableError: "it has no JetStream for us; see jetstream {{}}",
    TimeoutError: "it does not answer",
}


def settings_for(url: str) -> dict[str, Any]:
    """Return the parameters of `Client.connect` for a server.

    Raises:
        ValueError: it is no address, or contains a password, which `ps` would show.
        OSError: a file that the environment names cannot be used.
    """
    try:
        parts = urlsplit(url)
        host, _ = (parts.hostname or "").encode("idna"), parts.port  # both validate
    except ValueError:
        host = b""
    if not host or parts.scheme not in ("nats", "tls"):
        raise ValueError(f"{url!r} is no server; give nats://HOST or tls://HOST")
    if parts.username is not None:
        raise ValueError(f"all can see who you are in an address; {_CREDENTIALS}")
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

    Files are read for each connection, as they may have been renewed.

    Raises:
        OSError: a file cannot be used.
    """
    who: dict[str, Any] = {_NAMES[it]: environ[it] for it in _NAMES.keys() & environ}
    for name in _FILES.keys() & environ:
        parameter, kind, pattern = _FILES[name]
        with _naming(name):
            text = Path(environ[name]).read_text(errors="replace")
            if not re.search(pattern, text, re.DOTALL):
                raise OSError("there is no user's key in it as nsc and nk write them")
        who[parameter] = kind(text.strip())
    return who


def is_unreachable(error: Exception) -> bool:
    """Return whether a later attempt may succeed without a change."""
    return isinstance(error, _UNREACHABLE) or _REFUSED in str(error)


def is_connection_reset(error: Exception) -> bool:
    """Return whether a connection was reset, perhaps before its error was read."""
    return isinstance(error, _RESET) and _REFUSED not in str(error)


def has_no_stream(error: Exception) -> bool:
    """Return whether the stream does not exist or does not have our subjects."""
    is_of_another = getattr(error, "err_code", None) == _SUBJECT_OVERLAP
    return isinstance(error, NoStreamResponseError) or is_of_another


def why(error: Exception) -> str:
    """Return what an error means, and what to do."""
    text = str(error).removeprefix("nats: ").strip("'\" ")
    if has_no_stream(error):
        return _NO_STREAM
    if isinstance(error, APIError) and error.description:
        return f"JetStream says: {error.description}"
    for kind, meaning in _MEANINGS.items():
        if isinstance(error, kind):
            return meaning.format(error)
    if "uthoriz" in text:
        return f"it refuses us ({text}); {_CREDENTIALS}"
    if _REFUSED in text:
        return "nobody listens there"
    return "the connection broke" if is_unreachable(error) else text


@contextlib.contextmanager
def _naming(*names: str) -> Iterator[None]:
    """Raise OSError with the files, and the variables that name them."""
    try:
        yield
    except OSError as error:
        files = ", ".join(f"{it} ({environ[it]})" for it in names if it in environ)
        raise OSError(f"{files}: {error.strerror or error}") from None
