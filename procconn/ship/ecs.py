"""Convert JSON lines to the Elastic Common Schema (ECS)."""

import functools
import json
import re
from typing import Any

# ECS fields and ours. Fields that are not in this table go below `procconn`.
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
_KEYWORDS = {"uid", "ruid", "euid", "gid", "rgid", "egid"}  # strings in ECS
_PATHS = {it: name.split(".") for name in _NAMES for it in _NAMES[name].split()}


# Matches a field of a line and its JSON value, unless that is null.
_STRING = r'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_LIST, _OBJECT = rf"\[(?:{_STRING},?)*+\]", r"\{[^}]*\}"
_FIELD = re.compile(rf'"(\w+)":(?!null)({_STRING}|[^,"\[{{}}]+|{_LIST}|{_OBJECT})')


def as_ecs(line: str, host: str) -> str:
    """Convert a line to ECS. Fields that are null are omitted."""
    fields = dict(_FIELD.findall(line))  # json.loads() takes three times as long
    return _format_of(fields["event"], tuple(fields), host) % fields


@functools.lru_cache(maxsize=256)
def _format_of(event: str, fields: tuple[str, ...], host: str) -> str:
    """Return the % format of a document with these fields."""
    kind = '"pipeline_error"' if event == '"lost"' else '"event"'
    type_ = _TYPES.get(event.strip('"'), "info")
    document: dict[str, Any] = {
        "ecs": {"version": '"8.17"'},
        "event": {"kind": kind, "category": '["process"]', "type": f'["{type_}"]'},
        "host": {"name": json.dumps(host).replace("%", "%%")},
    }
    for field in fields:
        *parents, name = _PATHS.get(field, ("procconn", field))
        part = document
        for parent in parents:
            part = part.setdefault(parent, {})
        part[name] = f'"%({field})s"' if field in _KEYWORDS else f"%({field})s"
    return _dumps(document) + "\n"


def _dumps(part: Any) -> str:
    if not isinstance(part, dict):
        return str(part)
    return "{" + ",".join(f'"{it}":{_dumps(part[it])}' for it in part) + "}"
