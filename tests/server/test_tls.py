"""A Jupyter server that speaks TLS itself, and clients that speak it in all ways it permits."""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator

import pytest
from support.bots import bot_text
from support.frames import close, text
from support.server import RunningServer
from support.transports import serving
from support.wire import Wire

YAML = """
url:
  echo: {pattern: /echo, handler: WebSocketHandler,
         kwargs: {on_message: bots.echo, max_message: 4MiB, queue: {bytes: 16MiB}}}
"""

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[RunningServer]:
    folder, modules = tmp_path_factory.mktemp("tls"), {"bots.py": bot_text("transports")}
    with serving("tls", YAML, folder=folder, modules=modules) as running:
        yield running


@contextlib.contextmanager
def wire(server: RunningServer, version: str = "TLSv1_3", **options) -> Iterator[Wire]:
    """Hold a connection of one version of TLS, which tells a goodbye from a cut."""

    class OneVersion(Wire):
        @staticmethod
        def _dial(server, receive_buffer, seconds):
            plain = socket.socket()
            plain.settimeout(seconds)
            if receive_buffer is not None:
                plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            plain.connect((server.host, server.port))
            trust = ssl.create_default_context(cafile=str(server.extra["certificate"]))
            trust.minimum_version = trust.maximum_version = ssl.TLSVersion[version]
            return trust.wrap_socket(plain, server_hostname=server.host, suppress_ragged_eofs=False)

    with OneVersion(server, "/echo", **options) as one:
        assert one.sock.version() == version.replace("_", ".")
        yield one


@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
def test_messages_of_all_sizes_come_back_and_the_end_is_no_cut(server, version):
    with wire(server, version) as one:
        for size in (0, 1, 125, 16_384, 65_536, 3 << 20):
            one.send(text("x" * size))
            assert one.message() == b"x" * size
        one.send(close(1000))
        assert one.frame().code == 1000
        assert one.sock.recv(1) == b""  # it would raise where no `close_notify` had come


@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
def test_a_client_that_sends_much_before_it_reads_gets_all_of_it(server, version):
    """Both directions are full, and each must go on without the other."""
    count, size = 30, 100_000
    with wire(server, version, receive_buffer=65536) as one:
        one.sock.setblocking(False)
        out = b"".join(text(f"{n:<{size}}") for n in range(count))
        at, data, deadline = 0, bytearray(), time.monotonic() + 60
        while len(data) < count * size:
            assert time.monotonic() < deadline
            with contextlib.suppress(ssl.SSLWantWriteError, ssl.SSLWantReadError):
                if at < len(out):
                    at += one.sock.send(out[at : at + 16_384])
            with contextlib.suppress(ssl.SSLWantReadError):
                data += one.sock.recv(1 << 16)
                continue
            select.select([one.sock], [one.sock] if at < len(out) else [], [], 0.01)
        one.sock.setblocking(True)
        one.data += data
        for n in range(count):
            assert one.message() == f"{n:<{size}}".encode()


class OpenSSL:
    """Talk through `openssl s_client`, which can ask for new keys in the middle.

    Args:
        server: Whom to talk to.
    """

    def __init__(self, server: RunningServer) -> None:
        at = f"{server.host}:{server.port}"
        self.process = subprocess.Popen(
            ["openssl", "s_client", "-connect", at, "-tls1_3"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            bufsize=0,
        )
        self.seen = b""

    def send(self, data: bytes) -> None:
        self.process.stdin.write(data)

    def wait_for(self, what: bytes) -> None:
        """Wait until it has printed something, and forget what came before."""
        deadline = time.monotonic() + 30
        while what not in self.seen:
            ready, _, _ = select.select([self.process.stdout], [], [], deadline - time.monotonic())
            assert ready, f"{what!r} did not come, but {self.seen[-500:]!r}"
            chunk = self.process.stdout.read(65536)
            assert chunk, f"it ended before {what!r}: {self.seen[-500:]!r}"
            self.seen += chunk
        self.seen = self.seen.partition(what)[2]

    def stop(self) -> None:
        self.process.kill()
        self.process.wait(10)
        self.process.stdin.close()
        self.process.stdout.close()


def test_a_client_may_change_its_keys_and_ask_for_ours_in_the_middle(server):
    with Wire(server, "/echo") as for_the_request:
        request = for_the_request.request
    client = OpenSSL(server)
    try:
        client.wait_for(b"Verify return code")
        client.send(request)
        client.wait_for(b" 101 ")
        for n, command in enumerate((b"K\n", b"k\n", b"K\n")):
            client.send(command)
            client.wait_for(b"KEYUPDATE")
            client.send(text(f"message {n}"))
            client.wait_for(f"message {n}".encode())
    finally:
        client.stop()


def test_a_record_that_was_changed_on_its_way_ends_the_connection_and_no_other(server):
    with wire(server) as one, wire(server) as other:
        with socket.socket(fileno=one.sock.detach()) as cut:
            cut.settimeout(15)
            cut.sendall(b"\x17\x03\x03\x00\x20" + bytes(32))
            with contextlib.suppress(ConnectionResetError):
                while cut.recv(4096):
                    pass
        other.send(text("still here"))
        assert other.message() == b"still here"
