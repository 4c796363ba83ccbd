"""The way to a server: its address, who we are there, what its refusals mean."""

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
_OF_TLS = {"NATS_CA", "NATS_CERT", "NATS_KEY"}
_AS_WHOM = "NATS_CREDS, NATS_NKEY, NATS_TOKEN, or NATS_USER and NATS_PASSWORD say who"
_NOBODY = "Connect call failed"  # asyncio's words, also of several addresses at once
_CUT_OFF = (ConnectionResetError, BrokenPipeError, errors.UnexpectedEOF)
_AWAY_THERE = (errors.UnexpectedEOF, errors.ConnectionClosedError)
_AWAY = (ConnectionError, TimeoutError, socket.gaierror, *_AWAY_THERE)
_OF_ANOTHER = 10_060  # JetStream's code for a subject that another stream takes
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
    """Return what `connect` takes for the way.

    Raises:
        ValueError: it is no address, or has a password, which all can see.
        OSError: a file that the environment names is of no use.
    """
    try:
        parts = urlsplit(url)
        host, _ = (parts.hostname or "").encode("idna"), parts.port  # what they check
    except ValueError:
        host = b""
    if not host or parts.scheme not in ("nats", "tls"):
        raise ValueError(f"{url!r} is no server; give nats://HOST or tls://HOST")
    if parts.username is not None:
        raise ValueError(f"all can see who you are in an address; {_AS_WHOM}")
    settings: dict[str, Any] = {"servers": url}
    if parts.scheme == "tls" or _OF_TLS & environ.keys():
        with _naming("NATS_CA"):
            tls = ssl.create_default_context(cafile=environ.get("NATS_CA"))
        if "NATS_CERT" in environ:
            with _naming("NATS_CERT", "NATS_KEY"):
                tls.load_cert_chain(environ["NATS_CERT"], environ.get("NATS_KEY"))
        settings["tls"] = tls
    return settings


def who_we_are() -> dict[str, Any]:
    """Return what `connect` takes for that; OSError if a file is of no use.

    Files are read for each connection, as those who keep them may renew them.
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


def is_away(error: Exception) -> bool:
    """Tell whether it may work later, though nobody changes anything."""
    return isinstance(error, _AWAY) or _NOBODY in str(error)


def is_cut_off(error: Exception) -> bool:
    """Tell whether a connection ended, perhaps before the reason could be read."""
    return isinstance(error, _CUT_OFF) and _NOBODY not in str(error)


def has_no_stream(error: Exception) -> bool:
    """Tell whether our stream took no part in what was published."""
    is_of_another = getattr(error, "err_code", None) == _OF_ANOTHER
    return isinstance(error, NoStreamResponseError) or is_of_another


def why(error: Exception) -> str:
    """Say what an error means, and what helps."""
    text = str(error).removeprefix("nats: ").strip("'\" ")
    if has_no_stream(error):
        return _NO_STREAM
    if isinstance(error, APIError) and error.description:
        return f"JetStream says: {error.description}"
    for kind, meaning in _MEANINGS.items():
        if isinstance(error, kind):
            return meaning.format(error)
    if "uthoriz" in text:
        return f"it refuses us ({text}); {_AS_WHOM}"
    if _NOBODY in text:
        return "nobody listens there"
    return "the connection broke" if is_away(error) else text


@contextlib.contextmanager
def _naming(*names: str) -> Iterator[None]:
    """Have what is wrong with files tell which ones, and what names them."""
    try:
        yield
    except OSError as error:
        files = ", ".join(f"{it} ({environ[it]})" for it in names if it in environ)
        raise OSError(f"{files}: {error.strerror or error}") from None
