"""Validates values against docs/*.schema.json.

Implements the part of JSON Schema that these files use. Unlike JSON Schema, it reports
fields that the schema does not name.
"""

import json
import re
from pathlib import Path
from typing import Any

_TYPES: dict[str, Any] = {
    "integer": int,
    "number": (int, float),
    "string": str,
    "boolean": bool,
    "null": type(None),
    "array": list,
    "object": dict,
}
_KNOWN = {
    *("$schema", "$id", "title", "description", "format"),
    *("oneOf", "const", "enum", "type", "pattern", "items"),
    *("properties", "required"),
}


def schema(name: str) -> dict[str, Any]:
    """Load docs/NAME.schema.json."""
    path = Path(__file__).parents[2] / "docs" / f"{name}.schema.json"
    read: dict[str, Any] = json.loads(path.read_text())
    return read


def violations(of: dict[str, Any], value: object, at: str = "line") -> list[str]:
    """Return one line for each violation in a value."""
    assert set(of) <= _KNOWN
    found: list[str] = []
    if "oneOf" in of:
        each = [violations(one, value, at) for one in of["oneOf"]]
        if sum(not one for one in each) != 1:
            found += min(each, key=lambda one: len(list(one)))
    if "const" in of and value != of["const"]:
        found += [f"{at}: {value!r} is not {of['const']!r}"] * 99
    if "enum" in of and value not in of["enum"]:
        found.append(f"{at}: {value!r} is not one of {of['enum']}")
    if "type" in of and not _is_of(of["type"], value):
        found.append(f"{at}: {value!r} is not of type {of['type']}")
    if "pattern" in of and not re.search(of["pattern"], str(value)):
        found.append(f"{at}: {value!r} does not match {of['pattern']}")
    if "items" in of and isinstance(value, list):
        for item in value:
            found += violations(of["items"], item, f"{at}[]")
    if "properties" in of and isinstance(value, dict):
        known = of["properties"]
        missing = {*of.get("required", ())} - {*value}
        found += [f"{at}: {field} is missing" for field in missing]
        found += [f"{at}: {field} is unknown" for field in {*value} - {*known}]
        for field in {*known} & {*value}:
            found += violations(known[field], value[field], f"{at}.{field}")
    return found


def _is_of(types: str | list[str], value: object) -> bool:
    types = [types] if isinstance(types, str) else types
    if isinstance(value, bool):
        return "boolean" in types
    return any(isinstance(value, _TYPES[one]) for one in types)
