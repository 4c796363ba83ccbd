"""Start NATS servers on the loopback interface or in network namespaces."""

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
    """A server that can be killed and restarted with its store.

    Args:
        folder: the directory of its log.
        config: its configuration file.
        address: the host and port for clients.
        environ: variables that the configuration file uses.
        within: the prefix of the command, which enters a namespace.
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
        """Start the server, and wait until it listens."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, env=self._environ, stdout=log, stderr=log
            )
        deadline = time.monotonic() + PATIENCE
        while not _is_listening(self._address):
            assert self._process.poll() is None, self._log.read_text()
            assert time.monotonic() < deadline, self._log.read_text()
            time.sleep(0.05)

    def kill(self) -> None:
        """Kill the server, as in a crash."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()


def loopback_server(folder: Path, more: str = "", *, max_store: str = "1GB") -> Server:
    """Return a server with JetStream on the loopback interface."""
    port = free_port()
    config = folder / "server.conf"
    config.write_text(_JETSTREAM % (port, folder / "store", max_store, more))
    return Server(folder, config, ("127.0.0.1", port))


def free_port() -> int:
    """Return a port on which no server listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


class Network:
    """Network namespaces on a bridge, whose links can be cut."""

    def __init__(self) -> None:
        self._number = os.getpid() % 250
        self._bridge = f"pc{self._number}"
        self._names: list[str] = []
        _ip(f"link add {self._bridge} type bridge")
        _ip(f"address add 10.213.{self._number}.1/24 dev {self._bridge}")
        _ip(f"link set {self._bridge} up")

    def add(self, name: str) -> tuple[str, tuple[str, ...]]:
        """Create a namespace; return its address and the command that enters it."""
        self._names.append(name)
        namespace, link = self._namespace(name), self._link(name)
        address = f"10.213.{self._number}.{len(self._names) + 1}"
        _ip(f"netns add {namespace}")
        _ip(f"link add {link} type veth peer name eth0 netns {namespace}")
        _ip(f"link set {link} master {self._bridge} up")
        _ip(f"-n {namespace} address add {address}/24 dev eth0")
        for device in ("lo", "eth0"):
            _ip(f"-n {namespace} link set {device} up")
        return address, ("ip", "netns", "exec", namespace)

    def cut(self, name: str) -> None:
        """Drop all packets, without an error on either side."""
        _ip(f"link set {self._link(name)} down")

    def restore(self, name: str) -> None:
        """Forward packets again."""
        _ip(f"link set {self._link(name)} up")

    def close(self) -> None:
        """Delete the namespaces and the bridge."""
        for name in self._names:
            _ip(
                f"link delete {self._link(name)}"
            )  # namespaces are deleted asynchronously
            _ip(f"netns delete {self._namespace(name)}")
        _ip(f"link delete {self._bridge}")

    def _namespace(self, name: str) -> str:
        return f"{self._bridge}-{name}"

    def _link(self, name: str) -> str:
        return f"{self._bridge}v{self._names.index(name)}"


def _ip(arguments: str) -> None:
    subprocess.run(["ip", *arguments.split()], check=True)


def _is_listening(address: tuple[str, int]) -> bool:
    try:
        socket.create_connection(address, timeout=1).close()
    except OSError:
        return False
    return True
