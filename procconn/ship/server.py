"""The way to a server: its address, who we are there, what its refusals mean."""

import os
import socket
import ssl
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from nats import errors
from nats.js.errors import APIError, NoStreamResponseError, ServiceUnavailableError

_NAMES = {
    "user_credentials": "NATS_CREDS",
    "nkeys_seed": "NATS_NKEY",
    "token": "NATS_TOKEN",
    "user": "NATS_USER",
    "password": "NATS_PASSWORD",
}
_OF_TLS = {"NATS_CA", "NATS_CERT", "NATS_KEY"}
_AS_WHOM = "NATS_CREDS, NATS_NKEY, NATS_TOKEN, or NATS_USER and NATS_PASSWORD say who"
_NOBODY = "Connect call failed"  # asyncio's words, also of several addresses at once
_AWAY_THERE = (errors.UnexpectedEOF, errors.ConnectionClosedError)
_AWAY = (ConnectionError, TimeoutError, socket.gaierror, *_AWAY_THERE)
_MEANINGS: dict[type[Exception], str] = {
    ssl.SSLCertVerificationError: "its certificate is not good ({0.verify_message}),"
    " judged by NATS_CA or what this machine trusts",
    ServiceUnavailableError: "it has no JetStream for us; see jetstream {{}}",
    NoStreamResponseError: "the stream takes no procconn.>; --stream names another one",
    TimeoutError: "it does not answer",
}


def settings_for(url: str) -> dict[str, Any]:
    """Return what `connect` takes; who we are comes from the environment.

    Raises:
        ValueError: it is no address, or has a password, which all can see.
        OSError: a file that the environment names cannot be read.
    """
    parts, environ = urlsplit(url), os.environ
    if parts.scheme not in ("nats", "tls") or not parts.hostname:
        raise ValueError(f"{url!r} is no server; give nats://HOST or tls://HOST")
    if parts.username is not None:
        raise ValueError(f"all can see who you are in an address; {_AS_WHOM}")
    settings: dict[str, Any] = {"servers": url}
    settings |= {it: environ[name] for it, name in _NAMES.items() if name in environ}
    for name in {"NATS_CREDS", "NATS_NKEY"} & environ.keys():
        Path(environ[name]).open("rb").close()  # not all servers have it read
    if parts.scheme == "tls" or _OF_TLS & environ.keys():
        settings["tls"] = ssl.create_default_context(cafile=environ.get("NATS_CA"))
        if "NATS_CERT" in environ:
            key = environ.get("NATS_KEY")
            settings["tls"].load_cert_chain(environ["NATS_CERT"], key)
    return settings


def is_away(error: Exception) -> bool:
    """Tell whether it may work later, though nobody changes anything."""
    return isinstance(error, _AWAY) or _NOBODY in str(error)


def why(error: Exception) -> str:
    """Say what an error means, and what helps."""
    text = str(error).removeprefix("nats: ").strip("'\" ")
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
