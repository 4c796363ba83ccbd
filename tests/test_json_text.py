"""JSON of any bytes: strict parsers accept it, and no byte is lost."""

import contextlib
import importlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.builders import event_message, program_trailer, with_trailer, words
from support.json_schema import schema, violations

from procconn import TruncatedError, decode
from procconn.clock import wall_ns
from procconn.pipeline.formats import REASONS
from procconn.pipeline.json_lines import SCHEMA, JsonLines
from procconn.pipeline.json_text import line
from procconn.processes import ProcessTable
from procconn.processes.tracker import EventInContext, Tracker
from procconn.recording import Recorder
from procconn.ship.ecs import as_ecs

orjson = pytest.importorskip("orjson")

WATCH = schema("watch")
TEXTS = ("name", "exe", "cwd", "cgroup")

bytes_of = st.binary(max_size=40) | st.text(max_size=20).map(
    lambda it: it.encode("utf-8", "surrogatepass")
)
argument = bytes_of.map(lambda it: it.replace(b"\0", b"\xff"))


def message_of(argv: list[bytes], *texts: bytes) -> bytes:
    """Make an exec of such a program."""
    joined = b"".join(it + b"\0" for it in argv)
    trailer = program_trailer(joined, *texts, ids=(1, 0, 0, 0, 0))
    executed = event_message(2, words(7, 7).ljust(24, b"\0"), timestamp_ns=10**9)
    message = with_trailer(executed, trailer)
    return message + bytes(-len(message) % 4)


EXIT = event_message(0x80000000, words(7, 7, 0, 17, 1, 1), timestamp_ns=2 * 10**9)


def lines_of(*messages: bytes) -> list[bytes]:
    """Return the lines of events whose process is followed."""
    tracker = Tracker(ProcessTable())
    seen = [it for event in decode(b"".join(messages)) for it in tracker.take(event)]
    return [it.encode() for it in map(JsonLines(wall_ns), seen)]


def strictly(encoded: bytes) -> dict[str, Any]:
    """Read a line as the strictest do: UTF-8 in which no surrogate stands alone."""
    record: dict[str, Any] = orjson.loads(encoded)
    assert record == json.loads(encoded.decode("ascii"))
    return record


def check(record: dict[str, Any], field: str, data: bytes) -> None:
    """Compare a text and its digits with the bytes."""
    assert data.decode(errors="replace") == record[field]
    try:
        data.decode()
    except UnicodeDecodeError:
        assert data == bytes.fromhex(record[f"{field}_hex"])
    else:
        assert f"{field}_hex" not in record


def check_argv(record: dict[str, Any], argv: list[bytes]) -> None:
    assert [it.decode(errors="replace") for it in argv] == record["argv"]
    texts = b"\0".join(argv).decode(errors="replace").split("\0") if argv else []
    if texts and "\0".join(texts).encode() != b"\0".join(argv):
        assert argv == list(map(bytes.fromhex, record["argv_hex"]))
    else:
        assert "argv_hex" not in record


@given(st.lists(argument, max_size=5), st.tuples(*[bytes_of] * 4))
def test_an_exec_has_its_bytes_or_valid_text(
    argv: list[bytes], texts: tuple[bytes, ...]
) -> None:
    (encoded,) = lines_of(message_of(argv, *texts))
    record = strictly(encoded)

    assert [] == violations(WATCH, record)
    check_argv(record, argv)
    for field, data in zip(TEXTS, texts, strict=True):
        check(record, field, data)


@given(st.lists(argument, max_size=5), bytes_of)
def test_an_exit_has_them_too(argv: list[bytes], name: bytes) -> None:
    executed = message_of(argv, name, b"", b"", b"")
    record = strictly(lines_of(executed, EXIT)[-1])

    assert [] == violations(WATCH, record)
    check_argv(record, argv)
    check(record, "name", name)


@given(st.binary(min_size=16, max_size=16))
def test_a_comm_has_them_too(comm: bytes) -> None:
    message = event_message(0x200, words(7, 7) + comm)
    (encoded,) = lines_of(message)
    record = strictly(encoded)

    assert [] == violations(WATCH, record)
    check(record, "name", comm.partition(b"\0")[0])
    assert comm.partition(b"\0")[0].hex() == record["comm"]


@given(st.lists(argument, min_size=1, max_size=5), st.tuples(*[bytes_of] * 4))
def test_the_elastic_common_schema_has_them_too(
    argv: list[bytes], texts: tuple[bytes, ...]
) -> None:
    (encoded,) = lines_of(message_of(argv, *texts))
    document = strictly(as_ecs(encoded.decode(), "web1").encode())
    process, ours = document["process"], document["procconn"]
    theirs = {
        "argv": process["args"],
        "name": process["name"],
        "exe": process["executable"],
        "cwd": process["working_directory"],
    }
    record = ours | theirs

    check_argv(record, argv)
    for field, data in zip(TEXTS, texts, strict=True):
        check(record, field, data)


def test_each_reason_why_something_is_missing_has_its_words() -> None:
    reasons = []
    with contextlib.suppress(TruncatedError):
        for number in range(1, 64):
            trailer = program_trailer(*[None] * 5, flags=number << 8, version=2)
            (event,) = decode(
                with_trailer(event_message(2, words(7, 7) + bytes(16)), trailer)
            )
            record = json.loads(JsonLines(wall_ns)(EventInContext.alone(event)))
            assert [] == violations(WATCH, record)
            reasons.append(record["missing"])

    assert sorted(reasons) == sorted(REASONS)


# Readers may have 64 bits for a number; nothing that is reported takes more.
numbers = st.integers(-(2**63), 2**64 - 1)
values = st.recursive(
    st.none() | st.booleans() | numbers | bytes_of.map(os.fsdecode),
    lambda it: (
        st.lists(st.dictionaries(st.sampled_from("abc"), it))
        | st.dictionaries(st.sampled_from("abc"), it)
    ),
    max_leaves=9,
)


@given(st.dictionaries(st.sampled_from("abc"), values))
def test_any_object_is_a_line_that_strict_readers_take(record: dict[str, Any]) -> None:
    encoded = line(record)

    assert encoded.endswith("}\n")
    assert 1 == encoded.count("\n")
    assert [] == differences(record, strictly(encoded.encode()))


def differences(record: Any, read: Any) -> list[str]:
    """Compare what was written with what was read."""
    if isinstance(record, list):
        pairs = zip(record, read, strict=True)
        return [found for pair in pairs for found in differences(*pair)]
    if not isinstance(record, dict):
        return [] if record == read else [f"{record!r}: {read!r}"]
    found = []
    for name, it in record.items():
        if isinstance(it, str):
            data = os.fsencode(it)
            wrong = data != bytes.fromhex(read.get(f"{name}_hex", data.hex()))
            found += [name] * (wrong or data.decode(errors="replace") != read[name])
        else:
            found += differences(it, read[name])
    return found


# Under every locale

HOSTILE = (b"caf\xe9", "ä€😀".encode(), b"\xed\xa0\x80", b"a\nb\x1b", b"")
LATIN = "en_US.ISO-8859-1"


@pytest.fixture(scope="module")
def locales(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    """Return what the environment says for each locale there is."""
    found = {it: {"LC_ALL": it} for it in ("C.UTF-8", "C", "POSIX")}
    folder = tmp_path_factory.mktemp("locales")
    if shutil.which("localedef"):
        definition = [
            "localedef",
            "-i",
            "en_US",
            "-f",
            "ISO-8859-1",
            str(folder / LATIN),
        ]
        if not subprocess.run(definition, check=False, capture_output=True).returncode:
            found[LATIN] = {"LC_ALL": LATIN, "LOCPATH": str(folder)}
    return found


@pytest.mark.parametrize("subcommand", ["watch", "stat"])
@pytest.mark.parametrize("locale", ["C", "POSIX", LATIN])
def test_lines_are_the_same_bytes_under_every_locale(
    subcommand: str,
    locale: str,
    locales: dict[str, dict[str, str]],
    tmp_path: Path,
) -> None:
    if locale not in locales:
        pytest.skip("this system cannot make the locale")
    path = tmp_path / "hostile.pcap"
    with Recorder(path) as recorder:
        for it in HOSTILE:
            recorder.write(message_of([b"true", it], it, b"/" + it, b"/" + it, it))
            comm = words(7, 7) + it[:15].ljust(16, b"\0")
            recorder.write(event_message(0x200, comm, timestamp_ns=10**9))
        recorder.write(EXIT)
    command = [sys.executable, "-m", "procconn", subcommand, "--json", "-i", str(path)]
    environ = {**os.environ, "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    environ.pop("PYTHONIOENCODING", None)

    usual = subprocess.check_output(command, env=environ | locales["C.UTF-8"])
    other = subprocess.check_output(command, env=environ | locales[locale])
    assert usual == other
    assert re.search(rb'"name_hex":"636166e9"', usual)
    for it in usual.splitlines():
        strictly(it)


@pytest.mark.parametrize("name", ["wait", "stat", "doctor"])
def test_a_schemas_version_is_the_one_that_is_written(name: str) -> None:
    version = importlib.import_module(f"procconn.cli.{name}").VERSION
    document = schema(name)

    assert {"const": version} == document["properties"]["version"]
    assert f"urn:procconn:{name}:{version}" == document["$id"]


def test_the_lines_of_watch_are_called_what_their_schema_says() -> None:
    assert SCHEMA == schema("watch")["$id"]


@pytest.mark.slow
@pytest.mark.heavy
def test_duckdb_reads_lines_of_any_bytes(tmp_path: Path) -> None:
    duckdb = pytest.importorskip("duckdb")
    hostile = [message_of([it, it], *[it] * 4) for it in HOSTILE]
    path = tmp_path / "lines.json"
    path.write_bytes(b"".join(lines_of(*hostile, EXIT)))
    rows = duckdb.sql(
        "SELECT coalesce(argv_hex[1], hex(argv[1].encode())), name, cwd_hex"
        f" FROM read_json('{path}') WHERE event = 'exec'"
    ).fetchall()

    assert list(HOSTILE) == [bytes.fromhex(argument) for argument, *_ in rows]
    assert [it.decode(errors="replace") for it in HOSTILE] == [it[1] for it in rows]
    assert {it.hex() for it in HOSTILE if not_text(it)} | {None} == {
        it[2] for it in rows
    }


def not_text(data: bytes) -> bool:
    return data.decode(errors="replace").encode() != data


def test_events_alone_are_as_valid_as_followed_ones() -> None:
    (event,) = decode(message_of([b"\xff"], b"\xff", b"\xff", b"\xff", b"\xff"))
    record = strictly(JsonLines(wall_ns)(EventInContext.alone(event)).encode())

    assert ["ff"] == record["argv_hex"]
