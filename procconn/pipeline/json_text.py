"""Valid JSON for text that may be any bytes, independent of the locale.

Paths, names and arguments are bytes to the kernel. Python decodes them in the locale's
encoding, with lone surrogates for undecodable bytes, which strict JSON parsers reject.
So this module decodes the bytes again, as UTF-8. Invalid bytes become U+FFFD, and an
additional field, whose name ends in `_hex`, has all bytes in hexadecimal.
"""

import json
import os
from collections.abc import Sequence
from json.encoder import encode_basestring_ascii as quoted
from typing import Any


def encode_field(name: str, value: str | tuple[str, ...] | float | None) -> object:
    """Encode the value of a field, and add the `_hex` field if necessary."""
    if isinstance(value, str):
        if value.isascii():
            return quoted(value)
        text, digits = _text(value)
        more = f',"{name}_hex":"{digits}"' if digits else ""
        return quoted(text) + more
    if value is None:
        return "null"
    if isinstance(value, tuple):
        texts, each = _texts(value)
        array = f"[{','.join(map(quoted, texts))}]"
        return array + (f',"{name}_hex":["' + '","'.join(each) + '"]' if each else "")
    if isinstance(value, bool):
        return "true" if value else "false"
    return value


def readable(text: str) -> str:
    """Return text with U+FFFD for bytes that are not UTF-8."""
    return _text(text)[0]


def line(record: dict[str, Any], indent: int | None = None) -> str:
    """Encode an object, with any text in it, as a line, including the newline."""
    separators = (",", ":") if indent is None else None
    return json.dumps(_with_digits(record), indent=indent, separators=separators) + "\n"


def _with_digits(value: Any) -> Any:
    """Make text valid and add `_hex` fields; a tuple is an array of text."""
    if isinstance(value, list):
        return [_with_digits(it) for it in value]
    if not isinstance(value, dict):
        return value
    result: dict[str, object] = {}
    for name, it in value.items():
        digits: object = None
        if isinstance(it, str):
            result[name], digits = _text(it)
        elif isinstance(it, tuple):
            result[name], digits = _texts(it)
        else:
            result[name] = _with_digits(it)
        if digits:
            result[f"{name}_hex"] = digits
    return result


def _text(value: str) -> tuple[str, str]:
    """Return valid text, and its bytes in hexadecimal unless they are UTF-8."""
    if value.isascii():
        return value, ""
    data = os.fsencode(value)
    try:
        return data.decode(), ""
    except UnicodeDecodeError:
        return data.decode(errors="replace"), data.hex()


def _texts(values: Sequence[str]) -> tuple[Sequence[str], Sequence[str]]:
    """Return valid texts, and their bytes in hexadecimal unless all are UTF-8."""
    if "".join(values).isascii():
        return values, ()
    data = os.fsencode("\0".join(values))  # no argument contains NUL
    try:
        return data.decode().split("\0"), ()
    except UnicodeDecodeError:
        texts = data.decode(errors="replace").split("\0")
        return texts, [it.hex() for it in data.split(b"\0")]
