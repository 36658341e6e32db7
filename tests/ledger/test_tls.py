"""TLS with client certificates, through a proxy that ends it: it works, and what is wrong is said in words."""

from __future__ import annotations

import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from headwater.endpoint import Endpoint
from headwater.errors import ConfigError, LedgerError
from headwater.ledger import Ledger, Reader
from headwater.ledger.connection import connect, refusals
from tests.ledger.cluster_support import HOST, Node, free_ports, running
from tests.ledger.support import KEY, MONTH, Server, charge, eventually, outside, settled
from tests.ledger.tls_support import Papers, tls_before


@pytest.fixture(scope="module")
def papers() -> Iterator[Papers]:
    with tempfile.TemporaryDirectory(prefix="hw") as folder:
        yield Papers.made_in(Path(folder))


@pytest.fixture
def at(papers: Papers) -> Callable[..., Endpoint]:
    """An endpoint on a port with all that is needed, unless told otherwise."""

    def make(port: int, scheme: str = "rediss", **files: str | None) -> Endpoint:
        named = {"tls_ca": "ca.pem", "tls_cert": "client.pem", "tls_key": "client.key", **files}
        paths = {name: papers.path(file) for name, file in named.items() if file is not None}
        return Endpoint(url=f"{scheme}://{HOST}:{port}", **paths)  # type: ignore[arg-type]

    return make


def test_charges_go_through_tls_with_a_client_certificate(
    server: Server, papers: Papers, at: Callable[..., Endpoint], tmp_path: Path
) -> None:
    with tls_before(server.address, papers) as port:
        ledger = Ledger(redis_url=at(port), data_dir=tmp_path, key_fingerprint=KEY, outside=outside())
        ledger.start()
        for number in range(100):
            ledger.charge(charge(number))
        assert ledger.flush(10)
        eventually(lambda: settled(ledger))
        assert ledger.stats.failures == 0
        ledger.close()
        with Reader.open(data_dir=tmp_path, redis_url=at(port, tls_cert="both.pem", tls_key=None)) as reader:
            assert reader.totals(MONTH).requests_count == 100
    assert list(tmp_path.glob("journals/*")) == []  # durable, as said through the proxy


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"tls_ca": "stranger.pem"}, "certificate is not accepted: .*certificate.*tls_ca"),
        ({"tls_cert": None, "tls_key": None}, "asks for a client certificate; set tls_cert and tls_key"),
        ({"tls_cert": "stranger-client.pem", "tls_key": None}, "does not accept tls_cert"),
        ({"tls_ca": "absent.pem"}, "cannot read tls_ca .*absent.pem: No such file"),
        ({"tls_key": "absent.key"}, "cannot read tls_key .*absent.key: No such file"),
        ({"tls_ca": "client.key"}, "tls_ca .*client.key has no certificate in it"),
        ({"tls_cert": "client.key"}, "tls_cert .*client.key and its key in .*client.key cannot be used"),
        ({"tls_key": "both.pem", "tls_cert": "ca.pem"}, "ca.pem .*belong together"),
    ],
)
def test_what_is_wrong_with_the_certificates_stops_the_start(
    server: Server, papers: Papers, at: Callable[..., Endpoint], tmp_path: Path, files: dict[str, str], words: str
) -> None:
    with tls_before(server.address, papers) as port:
        ledger = Ledger(redis_url=at(port, **files), data_dir=tmp_path, key_fingerprint=KEY, outside=outside())

        with pytest.raises(ConfigError, match=words):
            ledger.start()
    assert list(tmp_path.glob("journals/*")) == []


def test_a_certificate_for_another_host_is_not_accepted(
    server: Server, papers: Papers, at: Callable[..., Endpoint], tmp_path: Path
) -> None:
    with tls_before(server.address, papers, host="elsewhere.example.org") as port:
        endpoint = at(port)
        with pytest.raises(ConfigError, match=r"not accepted: IP address mismatch.*check the host name"):
            Ledger(redis_url=endpoint, data_dir=tmp_path, key_fingerprint=KEY, outside=outside()).start()
        lenient = Endpoint(
            url=endpoint.url + "?ssl_check_hostname=no",
            tls_ca=endpoint.tls_ca,
            tls_cert=endpoint.tls_cert,
            tls_key=endpoint.tls_key,
        )
        with connect(lenient, 5.0) as client:
            assert client.ping()


def test_a_server_without_tls_is_told_of(at: Callable[..., Endpoint]) -> None:
    with tempfile.TemporaryDirectory(prefix="hw") as folder:
        plain = Node(Path(folder), free_ports(1)[0])
        # It waits for the end of the line that it takes the handshake for, or answers in plain text.
        with running(plain), pytest.raises(LedgerError, match=r"TLS.*write redis:// for a server without"), refusals():
            connect(at(plain.port), 0.25).ping()


def test_an_answer_in_plain_text_stops_the_start(at: Callable[..., Endpoint], tmp_path: Path) -> None:
    with socket.create_server((HOST, 0)) as listener:
        answering = threading.Thread(target=_answer_plainly, args=(listener,))
        answering.start()
        endpoint = at(listener.getsockname()[1])
        with pytest.raises(ConfigError, match=r"no TLS.*write redis:// for a server without"):
            Ledger(redis_url=endpoint, data_dir=tmp_path, key_fingerprint=KEY, outside=outside()).start()
        answering.join()


def _answer_plainly(listener: socket.socket) -> None:
    connection, _ = listener.accept()
    with connection:
        connection.recv(1 << 16)
        connection.sendall(b"-ERR unknown command\r\n")
