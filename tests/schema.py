"""As much of JSON Schema as docs/watch.schema.json uses, and no more of it."""

import re
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
    *("properties", "required", "additionalProperties"),
}


def complaints(schema: dict[str, Any], value: object, at: str = "line") -> list[str]:
    """Tell what is wrong with a value."""
    assert set(schema) <= _KNOWN
    found: list[str] = []
    if "oneOf" in schema:
        each = [complaints(one, value, at) for one in schema["oneOf"]]
        if sum(not one for one in each) != 1:
            found += min(each, key=lambda one: len(list(one)))
    if "const" in schema and value != schema["const"]:
        found += [f"{at}: {value!r} is not {schema['const']!r}"] * 99
    if "enum" in schema and value not in schema["enum"]:
        found.append(f"{at}: {value!r} is not one of {schema['enum']}")
    if "type" in schema and not _is_of(schema["type"], value):
        found.append(f"{at}: {value!r} is no {schema['type']}")
    if "pattern" in schema and not re.search(schema["pattern"], str(value)):
        found.append(f"{at}: {value!r} does not match {schema['pattern']}")
    if "items" in schema and isinstance(value, list):
        for item in value:
            found += complaints(schema["items"], item, f"{at}[]")
    if "properties" in schema and isinstance(value, dict):
        known = schema["properties"]
        found += [f"{at}: {field} is missing" for field in {*known} - {*value}]
        found += [f"{at}: {field} is not known" for field in {*value} - {*known}]
        for field in {*known} & {*value}:
            found += complaints(known[field], value[field], f"{at}.{field}")
    return found


def _is_of(types: str | list[str], value: object) -> bool:
    types = [types] if isinstance(types, str) else types
    if isinstance(value, bool):
        return "boolean" in types
    return any(isinstance(value, _TYPES[one]) for one in types)
