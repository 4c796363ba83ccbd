"""Starts NATS servers, on the loopback or in network namespaces."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

FLEET = Path(__file__).parents[2] / "examples" / "fleet"
NATS_SERVER = shutil.which("nats-server", path=f"{os.environ['PATH']}:/usr/sbin")
PATIENCE = 60.0  # seconds

_JETSTREAM = """
listen: "127.0.0.1:%d"
jetstream { store_dir: "%s", max_file_store: %s }
%s
"""


class Server:
    """A server, which can be killed and started again with what it has stored.

    Args:
        folder: where its log goes.
        config: its configuration.
        address: where it listens for clients.
        environ: what the configuration takes from the environment.
        within: the beginning of the command, which enters a namespace.
    """

    def __init__(
        self,
        folder: Path,
        config: Path,
        address: tuple[str, int],
        environ: Mapping[str, str] | None = None,
        within: tuple[str, ...] = (),
    ) -> None:
        assert NATS_SERVER is not None
        self.url = f"nats://{address[0]}:{address[1]}"
        self._address = address
        self._command = [*within, NATS_SERVER, "--config", str(config)]
        self._environ = {**os.environ, **(environ or {})}
        self._log = folder / "server.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it listens."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, env=self._environ, stdout=log, stderr=log
            )
        deadline = time.monotonic() + PATIENCE
        while not _listens(self._address):
            assert self._process.poll() is None, self._log.read_text()
            assert time.monotonic() < deadline, self._log.read_text()
            time.sleep(0.05)

    def kill(self) -> None:
        """End it as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()


def on_loopback(folder: Path, more: str = "", *, most: str = "1GB") -> Server:
    """Make a server with JetStream on the loopback."""
    port = free_port()
    config = folder / "server.conf"
    config.write_text(_JETSTREAM % (port, folder / "store", most, more))
    return Server(folder, config, ("127.0.0.1", port))


def free_port() -> int:
    """Find a port where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        return port


class Network:
    """Network namespaces on a bridge of the machine, whose links can be cut."""

    def __init__(self) -> None:
        self._number = os.getpid() % 250
        self._bridge = f"pc{self._number}"
        self._names: list[str] = []
        _ip(f"link add {self._bridge} type bridge")
        _ip(f"address add 10.213.{self._number}.1/24 dev {self._bridge}")
        _ip(f"link set {self._bridge} up")

    def add(self, name: str) -> tuple[str, tuple[str, ...]]:
        """Make a namespace; return its address and how a command enters it."""
        self._names.append(name)
        space, link = self._space(name), self._link(name)
        address = f"10.213.{self._number}.{len(self._names) + 1}"
        _ip(f"netns add {space}")
        _ip(f"link add {link} type veth peer name eth0 netns {space}")
        _ip(f"link set {link} master {self._bridge} up")
        _ip(f"-n {space} address add {address}/24 dev eth0")
        for device in ("lo", "eth0"):
            _ip(f"-n {space} link set {device} up")
        return address, ("ip", "netns", "exec", space)

    def cut(self, name: str) -> None:
        """Let nothing through any more, without telling either side."""
        _ip(f"link set {self._link(name)} down")

    def mend(self, name: str) -> None:
        """Let everything through again."""
        _ip(f"link set {self._link(name)} up")

    def close(self) -> None:
        """Take it away."""
        for name in self._names:
            _ip(f"link delete {self._link(name)}")  # a namespace goes, some time later
            _ip(f"netns delete {self._space(name)}")
        _ip(f"link delete {self._bridge}")

    def _space(self, name: str) -> str:
        return f"{self._bridge}-{name}"

    def _link(self, name: str) -> str:
        return f"{self._bridge}v{self._names.index(name)}"


def _ip(words: str) -> None:
    subprocess.run(["ip", *words.split()], check=True)


def _listens(address: tuple[str, int]) -> bool:
    try:
        socket.create_connection(address, timeout=1).close()
    except OSError:
        return False
    return True
