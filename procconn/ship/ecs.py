"""Lines in the Elastic Common Schema, by one table."""

import functools
import json
import re
from typing import Any

# ECS names of our fields; a field that is not here goes below `procconn`.
_NAMES = {
    "@timestamp": "time",
    "agent.version": "version",
    "event.action": "event",
    "host.boot.id": "boot_id",
    "process.args": "argv",
    "process.executable": "exe",
    "process.exit_code": "returncode",
    "process.group.id": "egid",
    "process.name": "name",
    "process.parent.pid": "parent_tgid ppid",
    "process.parent.thread.id": "parent_pid",
    "process.pid": "tgid child_tgid",
    "process.real_group.id": "gid rgid",
    "process.real_user.id": "uid ruid",
    "process.thread.id": "pid child_pid",
    "process.user.id": "euid",
    "process.user.name": "user",
    "process.working_directory": "cwd",
}
_TYPES = {"fork": "start", "exec": "start", "exit": "end"}
_TYPES |= dict.fromkeys(("uid", "gid", "sid", "ptrace", "comm"), "change")
_TEXTS = {"uid", "ruid", "euid", "gid", "rgid", "egid"}  # IDs are keywords in ECS
_PATHS = {it: name.split(".") for name in _NAMES for it in _NAMES[name].split()}


# A field of a line and its value, verbatim, unless that is null.
_STRING = r'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_LIST, _OBJECT = rf"\[(?:{_STRING},?)*+\]", r"\{[^}]*\}"
_FIELD = re.compile(rf'"(\w+)":(?!null)({_STRING}|[^,"\[{{}}]+|{_LIST}|{_OBJECT})')


def as_ecs(line: str, host: str) -> str:
    """Convert a line to ECS, without fields that are null."""
    fields = dict(_FIELD.findall(line))  # parsing values takes three times as long
    return _format_of(fields["event"], tuple(fields), host) % fields


@functools.lru_cache(maxsize=256)
def _format_of(event: str, fields: tuple[str, ...], host: str) -> str:
    """Return the format of a document with these fields."""
    kind = '"pipeline_error"' if event == '"lost"' else '"event"'
    type_ = _TYPES.get(event.strip('"'), "info")
    document: dict[str, Any] = {
        "ecs": {"version": '"8.17"'},
        "event": {"kind": kind, "category": '["process"]', "type": f'["{type_}"]'},
        "host": {"name": json.dumps(host).replace("%", "%%")},
    }
    for field in fields:
        *folders, name = _PATHS.get(field, ("procconn", field))
        place = document
        for folder in folders:
            place = place.setdefault(folder, {})
        place[name] = f'"%({field})s"' if field in _TEXTS else f"%({field})s"
    return _nested(document) + "\n"


def _nested(part: Any) -> str:
    if not isinstance(part, dict):
        return str(part)
    return "{" + ",".join(f'"{it}":{_nested(part[it])}' for it in part) + "}"
