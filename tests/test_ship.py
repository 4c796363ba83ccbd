"""Messages and options of `procconn ship`, without a server."""

import argparse
import errno
import gzip
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from support import process_events

from procconn import ship
from procconn.cli.parser import parse
from procconn.cli.shutdown import Shutdown
from procconn.clock import wall_ns
from procconn.events import Comm, Event, Exec, Exit, Fork, Lost, Uid
from procconn.pipeline.json_lines import JsonLines
from procconn.processes.tracker import EventInContext
from procconn.ship.ecs import as_ecs
from procconn.ship.messages import Message, Messages

PROGRAM = process_events.PROGRAM._replace(
    argv=("make", "-j2"),
    name="make",
    exe="/usr/bin/make",
    cwd="/src",
    ppid=7,
    uid=1000,
    gid=100,
)


def messages_of(*events: Event, host: str = "web1") -> list[Message]:
    messages = Messages(host, "origin", "urn:test", JsonLines(wall_ns))
    events_in_context = map(EventInContext.without_process, events)
    return [*messages.add(events_in_context), *messages.flush()]


def records_of(message: Message) -> list[dict[str, object]]:
    return [json.loads(line) for line in gzip.decompress(message.payload).splitlines()]


def ecs_of(event: Event) -> dict[str, dict[str, object]]:
    in_context = EventInContext(event, None, PROGRAM, 0, ended=isinstance(event, Exit))
    document: dict[str, dict[str, object]] = json.loads(
        as_ecs(JsonLines(wall_ns)(in_context), "web1.example")
    )
    return document


def test_message_has_events_of_one_kind_in_order() -> None:
    fork, other = Fork(1, 1, 2, 2, 10, 0), Fork(1, 1, 3, 3, 30, 0)
    messages = messages_of(fork, Comm(2, 2, b"a", 20, 0), other)

    assert ["procconn.web1.fork", "procconn.web1.comm"] == [
        message.subject for message in messages
    ]
    assert [2, 3] == [record["child_pid"] for record in records_of(messages[0])]
    assert [2, 1] == [message.events for message in messages]


def test_lost_is_a_separate_message_after_all_earlier_events() -> None:
    messages = messages_of(
        Comm(1, 1, b"a", 10, 0), Lost(5, 15), Comm(1, 1, b"b", 20, 0)
    )

    kinds = [message.subject.split(".")[2] for message in messages]
    assert ["comm", "lost", "comm"] == kinds
    assert [1, 0, 1] == [message.events for message in messages]


def test_message_ids_count_up_and_headers_describe_the_payload() -> None:
    events = (Comm(1, 1, b"a", 10, 0), Fork(1, 1, 2, 2, 10, 0))
    messages = messages_of(*events, host="web1.example")

    assert ["origin-1", "origin-2"] == [m.headers["Nats-Msg-Id"] for m in messages]
    assert {"web1.example"} == {m.headers["Procconn-Host"] for m in messages}
    assert {"gzip"} == {m.headers["Content-Encoding"] for m in messages}
    assert {"urn:test"} == {m.headers["Procconn-Schema"] for m in messages}


@pytest.mark.parametrize("host", ["web1.example", "web 1", "web*1", "web>1"])
def test_host_name_is_one_token_of_the_subject(host: str) -> None:
    (message,) = messages_of(Comm(1, 1, b"a", 10, 0), host=host)

    assert 3 == len(message.subject.split("."))
    assert not set(" *>") & set(message.subject)


def test_messages_fit_a_servers_default_limit() -> None:
    """A server accepts payloads of 1 MiB by default."""
    long = Exec(1, 1, 10, 0, PROGRAM._replace(argv=("\xff" * 49_000,)))
    messages = messages_of(*[long] * 9)

    assert 9 == sum(message.events for message in messages)
    for message in messages:
        assert len(gzip.decompress(message.payload)) <= 524_288


def test_ecs_document_of_an_exec_has_the_program() -> None:
    document = ecs_of(Exec(42, 42, 10, 1, PROGRAM))

    assert {
        "thread": {"id": 42},
        "pid": 42,
        "args": ["make", "-j2"],
        "name": "make",
        "executable": "/usr/bin/make",
        "working_directory": "/src",
        "parent": {"pid": 7},
        "real_user": {"id": "1000"},
        "user": {"id": "0", "name": "root"},
        "real_group": {"id": "100"},
        "group": {"id": "0"},
    } == document["process"]
    assert ["start"] == document["event"]["type"]
    assert {"name": "web1.example"} == document["host"]


@pytest.mark.parametrize(
    ("event", "kind", "type_"),
    [
        (Fork(1, 1, 2, 2, 10, 0), "event", "start"),
        (Exit(2, 2, 256, 17, 1, 1, 10, 0, None), "event", "end"),
        (Uid(2, 2, 0, 0, 10, 0), "event", "change"),
        (Lost(3, 10), "pipeline_error", "info"),
    ],
)
def test_ecs_document_has_the_kind_type_and_action(
    event: Event, kind: str, type_: str
) -> None:
    document = ecs_of(event)

    assert kind == document["event"]["kind"]
    assert [type_] == document["event"]["type"]
    assert type(event).__name__.lower() == document["event"]["action"]


def test_ecs_document_of_an_exit_has_the_status_and_no_nulls() -> None:
    document = ecs_of(Exit(2, 2, 256, 17, 1, 1, 10, 0, None))

    assert 1 == document["process"]["exit_code"]
    assert None not in document["procconn"].values()


def test_ecs_document_has_any_text_and_the_usage() -> None:
    text = 'a"]},{%s\\"x":null, \xe9'
    in_context = EventInContext(
        Exec(42, 42, 10, 1, PROGRAM._replace(argv=(text, "", text), name=text)),
        *(None, PROGRAM._replace(argv=(text, "", text), name=text), 0),
    )
    line = (
        JsonLines(wall_ns)(in_context).removesuffix("}\n") + ',"usage":{"cpu_ns":5}}\n'
    )
    document = json.loads(as_ecs(line, text))

    assert [text, "", text] == document["process"]["args"]
    assert text == document["process"]["name"] == document["host"]["name"]
    assert {"cpu_ns": 5} == document["procconn"]["usage"]


def test_error_without_the_nats_client_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "nats", None)

    assert 2 == ship.run(argparse.Namespace(), Shutdown(()))
    assert "pip install 'procconn[nats]'" in capfd.readouterr().err


def test_no_option_takes_a_secret() -> None:
    options = vars(parse(["ship", "nats://localhost"]))

    assert not {"token", "password", "creds", "user_credentials"} & options.keys()


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("localhost", "use nats://HOST or tls://HOST"),
        ("http://localhost", "use nats://HOST or tls://HOST"),
        ("nats://", "use nats://HOST or tls://HOST"),
        ("nats://[::1", "use nats://HOST or tls://HOST"),
        ("nats://a..b", "use nats://HOST or tls://HOST"),
        ("nats://127.0.0.1:abc", "use nats://HOST or tls://HOST"),
        ("nats://127.0.0.1:99999", "use nats://HOST or tls://HOST"),
        ("nats://me:secret@localhost", "visible to all users"),
    ],
)
def test_invalid_address_or_one_with_credentials_is_an_error(
    url: str, text: str
) -> None:
    server = pytest.importorskip("procconn.ship.server")
    with pytest.raises(ValueError, match=text):
        server.settings_for(url)


SEED = "SUA" + "B" * 55
CREDS = f"""-----BEGIN NATS USER JWT-----
ey.ab.cd
------END NATS USER JWT------

-----BEGIN USER NKEY SEED-----
{SEED}
------END USER NKEY SEED------
"""


@pytest.mark.parametrize(
    ("name", "parameter", "text"),
    [
        ("NATS_NKEY", "nkeys_seed_str", f"{SEED}\n"),
        ("NATS_CREDS", "user_credentials", CREDS),
    ],
)
def test_credentials_file_is_read_or_named_in_the_error(
    name: str,
    parameter: str,
    text: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server = pytest.importorskip("procconn.ship.server")
    path = tmp_path / "file"
    monkeypatch.setenv(name, str(path))
    absent = os.strerror(errno.ENOENT)
    with pytest.raises(OSError, match=rf"{name} \({path}\): {absent}"):
        server.credentials()
    for bad in (b"", b"garbage\n", b"\xff\x00", text.replace("SU", "SA").encode()):
        path.write_bytes(bad)
        with pytest.raises(OSError, match=rf"{name} \({path}\): not a user.s key"):
            server.credentials()
    path.write_text(text)

    assert {parameter: text.strip()} == server.credentials()


@pytest.mark.parametrize("name", ["NATS_CA", "NATS_CERT"])
def test_error_for_a_tls_file_names_its_variable(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = pytest.importorskip("procconn.ship.server")
    path = tmp_path / "file"
    monkeypatch.setenv(name, str(path))
    absent = os.strerror(errno.ENOENT)
    with pytest.raises(OSError, match=rf"{name} \({path}\): {absent}"):
        server.settings_for("tls://localhost")
    path.write_text("garbage")
    with pytest.raises(OSError, match=rf"{name} \({path}\): .*_ssl.c"):
        server.settings_for("nats://localhost")


def test_unresolved_host_name_is_unreachable() -> None:
    server = pytest.importorskip("procconn.ship.server")
    error = socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    assert server.is_unreachable(error)
    assert "cannot resolve the host name (Name or service not known)" == server.explain(
        error
    )


@pytest.mark.parametrize(
    ("option", "value", "text"),
    [
        ("--host", "web1\nX: y", "not a printable host name"),
        ("--host", "web\udcff", "not a printable host name"),
        ("--host", "", "not a printable host name"),
        ("--stream", "a.b", "not a valid stream name"),
        ("--stream", "a b", "not a valid stream name"),
        ("--stream", "a\x07", "not a valid stream name"),
        ("--stream", "\udcff", "not a valid stream name"),
        ("--max-bytes", str(1 << 63), "is more than 9223372036854775807 bytes"),
        ("--max-age", "9223372037", "is more than 9223372036 seconds"),
        ("--max-age", "nan", "not a number of seconds"),
    ],
)
def test_options_that_no_server_accepts_are_usage_errors(
    option: str, value: str, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        parse(["ship", "nats://localhost", option, value])

    assert text in capsys.readouterr().err


def test_error_for_a_queue_larger_than_memory_names_the_option(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shipping = pytest.importorskip("procconn.ship.shipping")

    def open_source(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(shipping, "open_source", open_source)
    with pytest.raises(ValueError, match="--queue 99: out of memory"):
        shipping.Shipping(parse(["ship", "nats://localhost", "--queue", "99"]))


def ship_to(scheme: str, info: bytes, **environ: str) -> tuple[bytes, str]:
    """Ship to a fake server; return what it receives and the line that is printed."""
    recording = str(Path(__file__).parents[1] / "examples" / "build.pcap")
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(60)
        url = f"{scheme}://127.0.0.1:{server.getsockname()[1]}"
        with subprocess.Popen(
            [sys.executable, "-m", "procconn", "ship", url, "--input", recording],
            env={**os.environ, **environ},
            stderr=subprocess.PIPE,
            text=True,
        ) as shipper:
            try:
                connection, _ = server.accept()
                with connection:
                    connection.settimeout(60)
                    connection.sendall(b"INFO " + info + b"\r\n")
                    text = connection.recv(65_536)
                assert shipper.stderr is not None
                return text, shipper.stderr.readline()
            finally:
                shipper.kill()


def test_nothing_is_sent_to_a_server_without_the_required_tls() -> None:
    pytest.importorskip("nats")
    text, printed = ship_to("tls", b'{"auth_required":true}', NATS_TOKEN="secret")

    assert b"" == text
    assert "does not offer TLS" in printed


def test_credentials_of_a_file_are_sent_to_the_server(tmp_path: Path) -> None:
    pytest.importorskip("nkeys")
    path = tmp_path / "creds"
    path.write_text(CREDS.replace("\n", "\r\n"))
    info = b'{"auth_required":true,"nonce":"abc"}'
    text, _ = ship_to("nats", info, NATS_CREDS=str(path))
    connect = json.loads(text.splitlines()[0].removeprefix(b"CONNECT "))

    assert "ey.ab.cd" == connect["jwt"]
    assert connect["sig"]
