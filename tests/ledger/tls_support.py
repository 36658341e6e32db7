"""A proxy that ends TLS before a server that speaks none, and asks for a client certificate; certificates made on the spot."""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import trustme

from tests.ledger.cluster_support import HOST


@dataclass(frozen=True)
class Papers:
    """Who vouches for both sides, and what they show."""

    folder: Path
    authority: trustme.CA

    @classmethod
    def made_in(cls, folder: Path) -> Papers:
        authority = trustme.CA()
        authority.cert_pem.write_to_path(str(folder / "ca.pem"))
        client = authority.issue_cert("headwater@example.org")
        client.cert_chain_pems[0].write_to_path(str(folder / "client.pem"))
        client.private_key_pem.write_to_path(str(folder / "client.key"))
        client.private_key_and_cert_chain_pem.write_to_path(str(folder / "both.pem"))
        trustme.CA().cert_pem.write_to_path(str(folder / "stranger.pem"))
        stranger = trustme.CA().issue_cert("headwater@example.org")
        stranger.private_key_and_cert_chain_pem.write_to_path(str(folder / "stranger-client.pem"))
        return cls(folder, authority)

    def path(self, name: str) -> Path:
        return self.folder / name


def _server_side(papers: Papers, host: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    papers.authority.issue_cert(host).configure_cert(context)
    papers.authority.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    return context


@contextmanager
def tls_before(address: Path | int, papers: Papers, *, host: str = HOST) -> Iterator[int]:
    """The port of a TLS proxy with a certificate for a host, before a server on a Unix socket or a port of loopback."""
    context = _server_side(papers, host)
    with socket.create_server((HOST, 0)) as listener, ExitStack() as stack:
        # Of its own accord it ends nothing: what is still open when the block ends is closed then.
        acceptor = threading.Thread(target=_accept, args=(listener, context, address, stack))
        acceptor.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            acceptor.join()


def _accept(listener: socket.socket, context: ssl.SSLContext, address: Path | int, stack: ExitStack) -> None:
    while True:
        try:
            accepted, _ = listener.accept()
        except OSError:
            return
        carrier = threading.Thread(target=_carry, args=(accepted, context, address))
        carrier.start()
        stack.callback(carrier.join)
        stack.callback(_shut, accepted)


def _shut(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


def _carry(accepted: socket.socket, context: ssl.SSLContext, address: Path | int) -> None:
    """Both directions of one connection, on one thread."""
    accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    unix = isinstance(address, Path)
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX if unix else socket.AF_INET) as server:
        server.connect(str(address) if unix else (HOST, address))
        with context.wrap_socket(accepted, server_side=True, do_handshake_on_connect=False) as client:
            try:
                client.do_handshake()
            except ssl.SSLError:
                # OpenSSL has sent the reason; a close with unread bytes would overtake it.
                client.shutdown(socket.SHUT_WR)
                while client.recv(1 << 16):
                    pass
                return
            while True:
                ready = [client] if client.pending() else select.select([client, server], [], [])[0]
                for source, target in ((client, server), (server, client)):
                    if source in ready:
                        data = source.recv(1 << 16)
                        if not data:
                            return
                        target.sendall(data)
