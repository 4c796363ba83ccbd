"""Errors of servers: each is reported in one line, without a traceback."""

import contextlib
import os
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import count
from pathlib import Path
from threading import Thread

import pytest

from fleet.servers import PATIENCE, Server, free_port, loopback_server
from fleet.shippers import KIND, SHIP, Burst, ship, shipping, stop
from fleet.streams import make, purge, stored, wait_for_messages

pytestmark = [pytest.mark.slow, pytest.mark.heavy]

BUILD = str(Path(__file__).parents[2] / "examples" / "build.pcap")


@contextmanager
def serving(folder: Path, more: str = "", max_store: str = "1GB") -> Iterator[Server]:
    server = loopback_server(folder, more, max_store=max_store)
    server.start()
    try:
        yield server
    finally:
        server.kill()


def refused(url: str, *options: str, **environ: str) -> str:
    """Ship a recording, which fails; return the only line of stderr."""
    done = subprocess.run(
        [*SHIP, url, "--input", BUILD, *options],
        check=False,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        env={**os.environ, **environ},
    )
    assert 2 == done.returncode, done.stderr
    (line,) = done.stderr.splitlines()
    return line


def waiting_message(url: str) -> str:
    """Ship a recording during some attempts; return the first line of stderr."""
    with shipping(url, "--input", BUILD) as shipper:
        assert shipper.stderr is not None
        line = shipper.stderr.readline()
        time.sleep(3)
        (last,) = stop(shipper).splitlines()
    assert last.endswith("could not be stored in time")
    return line


def certify(folder: Path, host: str) -> tuple[Path, Path]:
    """Create a self-signed certificate and its key."""
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec"),
            *("-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"),
            *("-keyout", key, "-out", certificate, "-subj", "/CN=test"),
            *("-addext", f"subjectAltName=IP:{host}"),
        ],
        check=True,
        capture_output=True,
    )
    return certificate, key


def tls(certificate: Path, key: Path) -> str:
    return f'tls {{ cert_file: "{certificate}", key_file: "{key}" }}'


def test_refused_connection_is_reported_once() -> None:
    line = waiting_message(f"nats://127.0.0.1:{free_port()}")

    assert line.endswith(": connection refused; events are queued\n")


def test_untrusted_certificate_is_reported(tmp_path: Path) -> None:
    certificate = certify(tmp_path, "127.0.0.1")
    with serving(tmp_path, tls(*certificate)) as server:
        line = refused(server.url.replace("nats", "tls", 1))

    assert "TLS verification failed: self-signed certificate" in line
    assert "NATS_CA" in line


def test_certificate_of_another_host_is_reported(tmp_path: Path) -> None:
    certificate = certify(tmp_path, "127.0.0.2")
    with serving(tmp_path, tls(*certificate)) as server:
        line = refused(server.url, NATS_CA=str(certificate[0]))

    assert "TLS verification failed" in line
    assert "127.0.0.1" in line


def test_trusted_certificate_is_accepted(tmp_path: Path) -> None:
    certificate = certify(tmp_path, "127.0.0.1")
    environ = {**os.environ, "NATS_CA": str(certificate[0])}
    with serving(tmp_path, tls(*certificate)) as server:
        command = [*SHIP, server.url, "--input", BUILD]
        shipper = subprocess.run(
            command, check=True, env=environ, timeout=PATIENCE, stderr=subprocess.PIPE
        )

    assert b"" == shipper.stderr  # no warnings of asyncio either


def test_server_without_tls_is_rejected(server: Server) -> None:
    line = refused(server.url.replace("nats", "tls", 1))

    assert "does not offer TLS" in line


def test_missing_jetstream_is_an_error(tmp_path: Path) -> None:
    config = tmp_path / "plain.conf"
    port = free_port()
    config.write_text(f'listen: "127.0.0.1:{port}"\n')
    server = Server(tmp_path, config, ("127.0.0.1", port))
    server.start()
    line = refused(server.url)
    server.kill()

    text = "JetStream is not enabled for this account; add jetstream {} to the server"
    assert text in line


def test_token_is_read_from_the_environment(tmp_path: Path) -> None:
    with serving(tmp_path, 'authorization { token: "secret" }') as server:
        line = refused(server.url, NATS_TOKEN="other")
        environ = {**os.environ, "NATS_TOKEN": "secret"}
        command = [*SHIP, server.url, "--input", BUILD]
        subprocess.run(command, check=True, env=environ, timeout=PATIENCE)

    assert "authentication failed (Authorization Violation); set NATS_CREDS" in line


class Refusing:
    """A server that resets some connections, then refuses the credentials of others."""

    _INFO = b'INFO {"server_id":"x","version":"2.9.10","max_payload":1048576}\r\n'

    def __init__(self, resets: int) -> None:
        self._resets = resets
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"nats://127.0.0.1:{self._listener.getsockname()[1]}"
        Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        """Stop listening."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            for number in count():
                connection, _ = self._listener.accept()
                with connection:
                    connection.sendall(self._INFO)
                    connection.recv(65_536)
                    end = _reset if number < self._resets else _refuse
                    end(connection)


def _reset(connection: socket.socket) -> None:
    """Let close() send an RST, which discards data that the peer has not read."""
    linger = struct.pack("ii", 1, 0)  # l_onoff, l_linger
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)


def _refuse(connection: socket.socket) -> None:
    connection.sendall(b"-ERR 'Authorization Violation'\r\n")
    connection.shutdown(socket.SHUT_WR)
    while connection.recv(65_536):  # with unread data, close() would send an RST
        pass


def test_refusal_after_connection_resets_is_reported() -> None:
    with closing(Refusing(resets=2)) as server:
        line = refused(server.url, NATS_TOKEN="other")

    assert "authentication failed (Authorization Violation); set NATS_CREDS" in line


def test_repeated_resets_are_reported_once() -> None:
    with closing(Refusing(resets=sys.maxsize)) as server:
        line = waiting_message(server.url)

    assert line.endswith(": connection lost; events are queued\n")


def test_nkey_is_read_from_a_file(tmp_path: Path) -> None:
    nkeys = pytest.importorskip("nkeys")
    seed = nkeys.encode_seed(os.urandom(32), nkeys.PREFIX_BYTE_USER)
    public = nkeys.from_seed(bytearray(seed)).public_key.decode()
    path = tmp_path / "seed"
    path.write_bytes(seed + b"\n")
    with serving(tmp_path, f"authorization {{ users: [{{ nkey: {public} }}] }}") as one:
        command = [*SHIP, one.url, "--input", BUILD]
        environ = {**os.environ, "NATS_NKEY": str(path)}
        subprocess.run(command, check=True, env=environ, timeout=PATIENCE)


def test_password_in_url_is_rejected() -> None:
    line = refused("nats://me:secret@127.0.0.1")

    assert "credentials in a URL are visible to all users" in line


def test_missing_credentials_file_is_named(tmp_path: Path) -> None:
    with serving(tmp_path, 'authorization { token: "secret" }') as server:
        line = refused(server.url, NATS_CREDS="/nowhere/my.creds")

    assert "/nowhere/my.creds" in line


def test_overlapping_stream_is_reported(server: Server) -> None:
    subprocess.run([*SHIP, server.url, "--input", BUILD], check=True)
    line = refused(server.url, "--stream", "another")

    assert "JetStream error: subjects overlap with an existing stream" in line


@pytest.mark.parametrize("others", [["foo.>"], ["foo.>", "procconn.>"]])
def test_stream_with_other_subjects_is_reported(
    server: Server, others: list[str]
) -> None:
    for number, subject in enumerate(others):
        make(server.url, f"stream{number}", subject)
    line = refused(server.url, "--stream", "stream0")

    assert "the stream does not accept procconn.>; choose another with --stream" in line


def test_small_max_payload_is_reported_once(tmp_path: Path) -> None:
    with serving(tmp_path, "max_payload: 700") as server:
        line = waiting_message(server.url)

    assert "a message exceeds the server's max_payload; set it to 1MB" in line


@pytest.mark.parametrize("name", ["NATS_NKEY", "NATS_CREDS"])
def test_invalid_credentials_file_is_named(
    server: Server, name: str, tmp_path: Path
) -> None:
    path = tmp_path / "garbage"
    path.write_text("garbage\n")
    line = refused(server.url, **{name: str(path)})

    assert f"{name} ({path}): not a user's key" in line


def test_stream_with_max_bytes_drops_the_oldest_messages(
    tmp_path: Path,
) -> None:
    with serving(tmp_path, max_store="400KB") as server:
        found = ship(Burst(60_000), server.url, "--max-bytes", "300000")

    assert ["stopped"] == [it["event"] for it in found.of("shipper")]
    assert 60_000 == found.of("shipper")[0]["events"]
    assert 0 < found.kinds[KIND] < 60_000


def test_full_store_is_reported_once_and_events_are_queued(
    tmp_path: Path,
) -> None:
    burst = Burst(60_000)
    options = burst.options
    with (
        serving(tmp_path, max_store="400KB") as server,
        shipping(server.url, *options) as shipper,
    ):
        assert shipper.stderr is not None
        wait_for_messages(server.url)
        burst.start()
        burst.wait()
        full = shipper.stderr.readline()
        before = stored(server.url)
        purge(server.url)
        again = shipper.stderr.readline()
        errors = stop(shipper)
        found = stored(server.url)

    assert "JetStream error: insufficient" in full
    assert "events are queued" in full
    assert "recovered; queued events are being delivered" in again
    assert (0, "") == (shipper.returncode, errors)
    ours = [it["timestamp_ns"] for it in (*before.of(KIND), *found.of(KIND))]
    assert 60_000 == len(set(ours)) == len(ours)


def test_permissions_in_the_guide_are_sufficient(tmp_path: Path) -> None:
    publish = ["procconn.web1.>"]
    publish += [f"$JS.API.STREAM.{it}.procconn" for it in ("INFO", "CREATE")]
    names = ", ".join(f'"{it}"' for it in publish)
    may = f'{{ publish: [{names}], subscribe: "_INBOX.>" }}'
    user = f'{{ user: "web1", password: "secret", permissions: {may} }}'
    reader = '{ user: "reader", password: "other" }'
    environ = {"NATS_USER": "web1", "NATS_PASSWORD": "secret"}
    with serving(tmp_path, f"authorization {{ users: [{user}, {reader}] }}") as server:
        command = [*SHIP, server.url, "--input", BUILD, "--host", "web1"]
        done = subprocess.run(
            command,
            check=False,
            capture_output=True,
            env={**os.environ, **environ},
            timeout=PATIENCE,
        )
        found = stored(server.url.replace("//", "//reader:other@"))

    assert (0, b"") == (done.returncode, done.stderr)
    assert {"web1"} == {it["host"] for it in found.records}


def test_missing_publish_permission_is_reported(tmp_path: Path) -> None:
    may = '{ publish: ["$JS.API.>", "procconn.web1.>"], subscribe: "_INBOX.>" }'
    user = f'{{ user: "web1", password: "secret", permissions: {may} }}'
    environ = {"NATS_USER": "web1", "NATS_PASSWORD": "secret"}
    options = ["--input", BUILD, "--host", "web2"]
    with (
        serving(tmp_path, f"authorization {{ users: [{user}] }}") as server,
        shipping(server.url, *options, environ=environ) as shipper,
    ):
        assert shipper.stderr is not None
        line = shipper.stderr.readline()
        stop(shipper)

    assert "permissions violation for publish" in line.lower()
    assert "procconn.web2." in line
