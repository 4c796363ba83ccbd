"""Servers that refuse: one clear line each, and no traceback."""

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

from fleet.servers import PATIENCE, Server, free_port, on_loopback
from fleet.shippers import KIND, SHIP, Storm, ship, shipping, stop
from fleet.streams import make, purge, stored, wait_for_messages

pytestmark = [pytest.mark.slow, pytest.mark.heavy]

BUILD = str(Path(__file__).parents[2] / "examples" / "build.pcap")


@contextmanager
def serving(folder: Path, more: str = "", most: str = "1GB") -> Iterator[Server]:
    server = on_loopback(folder, more, most=most)
    server.start()
    try:
        yield server
    finally:
        server.kill()


def refused(url: str, *options: str, **environ: str) -> str:
    """Ship a recording; return the one line that says why that fails."""
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


def told_of_waiting(url: str) -> str:
    """Ship a recording for some attempts; return the line that says why it waits."""
    with shipping(url, "--input", BUILD) as shipper:
        assert shipper.stderr is not None
        line = shipper.stderr.readline()
        time.sleep(3)
        (last,) = stop(shipper).splitlines()
    assert last.endswith("could not be stored in time")
    return line


def certify(folder: Path, host: str) -> tuple[Path, Path]:
    """Make a certificate that nobody but itself has signed."""
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


def test_where_nobody_listens_it_says_so_once_and_waits() -> None:
    line = told_of_waiting(f"nats://127.0.0.1:{free_port()}")

    assert line.endswith(": connection refused; events are queued\n")


def test_a_certificate_that_is_not_trusted_is_named(tmp_path: Path) -> None:
    certificate = certify(tmp_path, "127.0.0.1")
    with serving(tmp_path, tls(*certificate)) as server:
        line = refused(server.url.replace("nats", "tls", 1))

    assert "TLS verification failed: self-signed certificate" in line
    assert "NATS_CA" in line


def test_a_certificate_of_another_host_is_named(tmp_path: Path) -> None:
    certificate = certify(tmp_path, "127.0.0.2")
    with serving(tmp_path, tls(*certificate)) as server:
        line = refused(server.url, NATS_CA=str(certificate[0]))

    assert "TLS verification failed" in line
    assert "127.0.0.1" in line


def test_a_certificate_that_is_trusted_serves(tmp_path: Path) -> None:
    certificate = certify(tmp_path, "127.0.0.1")
    environ = {**os.environ, "NATS_CA": str(certificate[0])}
    with serving(tmp_path, tls(*certificate)) as server:
        command = [*SHIP, server.url, "--input", BUILD]
        shipper = subprocess.run(
            command, check=True, env=environ, timeout=PATIENCE, stderr=subprocess.PIPE
        )

    assert b"" == shipper.stderr  # nor has asyncio anything to warn of


def test_a_server_without_tls_is_not_taken_for_one_with_it(server: Server) -> None:
    line = refused(server.url.replace("nats", "tls", 1))

    assert "does not offer TLS" in line


def test_without_jetstream_it_ends(tmp_path: Path) -> None:
    config = tmp_path / "plain.conf"
    port = free_port()
    config.write_text(f'listen: "127.0.0.1:{port}"\n')
    server = Server(tmp_path, config, ("127.0.0.1", port))
    server.start()
    line = refused(server.url)
    server.kill()

    assert "JetStream is not enabled for this account; add jetstream {}" in line


def test_a_token_comes_from_the_environment(tmp_path: Path) -> None:
    with serving(tmp_path, 'authorization { token: "secret" }') as server:
        line = refused(server.url, NATS_TOKEN="other")
        environ = {**os.environ, "NATS_TOKEN": "secret"}
        command = [*SHIP, server.url, "--input", BUILD]
        subprocess.run(command, check=True, env=environ, timeout=PATIENCE)

    assert "authentication failed (Authorization Violation); set NATS_CREDS" in line


class Refusing:
    """A server that resets some connections, and on later ones says that it refuses."""

    _INFO = b'INFO {"server_id":"x","version":"2.9.10","max_payload":1048576}\r\n'

    def __init__(self, resets: int) -> None:
        self._resets = resets
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"nats://127.0.0.1:{self._listener.getsockname()[1]}"
        Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        """Serve nobody any more."""
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
    """Have its close send a reset, which drops what was not read."""
    linger = struct.pack("ii", 1, 0)  # on, for no time
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)


def _refuse(connection: socket.socket) -> None:
    connection.sendall(b"-ERR 'Authorization Violation'\r\n")
    connection.shutdown(socket.SHUT_WR)
    while connection.recv(65_536):  # or else its close would reset it
        pass


def test_a_refusal_that_is_cut_off_is_told_as_such_by_a_later_attempt() -> None:
    with closing(Refusing(resets=2)) as server:
        line = refused(server.url, NATS_TOKEN="other")

    assert "authentication failed (Authorization Violation); set NATS_CREDS" in line


def test_a_server_that_always_hangs_up_is_told_once() -> None:
    with closing(Refusing(resets=sys.maxsize)) as server:
        line = told_of_waiting(server.url)

    assert line.endswith(": connection lost; events are queued\n")


def test_a_key_comes_from_a_file(tmp_path: Path) -> None:
    nkeys = pytest.importorskip("nkeys")
    seed = nkeys.encode_seed(os.urandom(32), nkeys.PREFIX_BYTE_USER)
    public = nkeys.from_seed(bytearray(seed)).public_key.decode()
    path = tmp_path / "seed"
    path.write_bytes(seed + b"\n")
    with serving(tmp_path, f"authorization {{ users: [{{ nkey: {public} }}] }}") as one:
        command = [*SHIP, one.url, "--input", BUILD]
        environ = {**os.environ, "NATS_NKEY": str(path)}
        subprocess.run(command, check=True, env=environ, timeout=PATIENCE)


def test_a_password_in_the_address_is_refused() -> None:
    line = refused("nats://me:secret@127.0.0.1")

    assert "credentials in a URL are visible to all users" in line


def test_a_file_of_credentials_that_is_not_there_is_named(tmp_path: Path) -> None:
    with serving(tmp_path, 'authorization { token: "secret" }') as server:
        line = refused(server.url, NATS_CREDS="/nowhere/my.creds")

    assert "/nowhere/my.creds" in line


def test_a_stream_that_takes_other_subjects_is_told(server: Server) -> None:
    subprocess.run([*SHIP, server.url, "--input", BUILD], check=True)
    line = refused(server.url, "--stream", "another")

    assert "JetStream error: subjects overlap with an existing stream" in line


@pytest.mark.parametrize("others", [["foo.>"], ["foo.>", "procconn.>"]])
def test_a_stream_of_other_subjects_is_told(server: Server, others: list[str]) -> None:
    for number, subject in enumerate(others):
        make(server.url, f"stream{number}", subject)
    line = refused(server.url, "--stream", "stream0")

    assert "the stream does not accept procconn.>; choose another with --stream" in line


def test_a_server_that_takes_small_messages_only_is_told_once(tmp_path: Path) -> None:
    with serving(tmp_path, "max_payload: 700") as server:
        line = told_of_waiting(server.url)

    assert "a message exceeds the server's max_payload; set it to 1MB" in line


@pytest.mark.parametrize("name", ["NATS_NKEY", "NATS_CREDS"])
def test_a_file_of_credentials_without_any_is_named(
    server: Server, name: str, tmp_path: Path
) -> None:
    path = tmp_path / "garbage"
    path.write_text("garbage\n")
    line = refused(server.url, **{name: str(path)})

    assert f"{name} ({path}): not a user's key" in line


def test_a_stream_with_a_size_drops_the_oldest_and_nothing_waits(
    tmp_path: Path,
) -> None:
    with serving(tmp_path, most="400KB") as server:
        found = ship(Storm(60_000), server.url, "--max-bytes", "300000")

    assert ["stopped"] == [it["event"] for it in found.of("shipper")]
    assert 60_000 == found.of("shipper")[0]["events"]
    assert 0 < found.kinds[KIND] < 60_000


def test_a_full_store_is_told_once_and_events_wait_until_there_is_room(
    tmp_path: Path,
) -> None:
    storm = Storm(60_000)
    options = storm.options
    with (
        serving(tmp_path, most="400KB") as server,
        shipping(server.url, *options) as shipper,
    ):
        assert shipper.stderr is not None
        wait_for_messages(server.url)
        storm.begin()
        storm.end()
        full = shipper.stderr.readline()
        before = stored(server.url)
        purge(server.url)
        again = shipper.stderr.readline()
        errors = stop(shipper)
        found = stored(server.url)

    assert "JetStream error: insufficient" in full
    assert "events are queued" in full
    assert "working again" in again
    assert (0, "") == (shipper.returncode, errors)
    ours = [it["timestamp_ns"] for it in (*before.of(KIND), *found.of(KIND))]
    assert 60_000 == len(set(ours)) == len(ours)


def test_a_user_needs_no_more_permissions_than_the_guide_says(tmp_path: Path) -> None:
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


def test_a_host_that_may_not_publish_is_told_so(tmp_path: Path) -> None:
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
