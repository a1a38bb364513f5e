import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from kombu.exceptions import OperationalError

from pipeline.errors import SettingsError
from workers.app import create_app
from workers.tls import split_tls

SCHEMES = ("rediss", "amqps")


class Listener:
    """Says hello in TLS with a certificate for one name, and hangs up."""

    def __init__(self, certificate: Path, key: Path) -> None:
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificate, key)
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self.n_trusted = 0
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(10)
                try:
                    with self._context.wrap_socket(connection, server_side=True) as secure:
                        # with TLS 1.3 a client that doesn't trust us says so only after our own hello
                        self.n_trusted += bool(secure.recv(1))
                except OSError:
                    continue

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join()


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a certificate for `localhost`, one for `other.example`, and their keys."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed")
    folder = tmp_path_factory.mktemp("certificates")
    for name in ("localhost", "other.example"):
        made = ["-keyout", f"{name}.key", "-out", f"{name}.pem", "-subj", f"/CN={name}"]
        san = ["-addext", f"subjectAltName=DNS:{name}", "-addext", "basicConstraints=critical,CA:TRUE"]
        command = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *made, *san]
        subprocess.run(command, check=True, capture_output=True, cwd=folder)
    return folder


@pytest.fixture(params=["localhost", "other.example"])
def listener(request: pytest.FixtureRequest, certificates: Path) -> Iterator[tuple[str, Listener]]:
    name = request.param
    made = Listener(certificates / f"{name}.pem", certificates / f"{name}.key")
    yield name, made
    made.close()


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_broker_is_trusted_by_authority_and_name(
    scheme: str, listener: tuple[str, Listener], certificates: Path
) -> None:
    name, server = listener
    other = "localhost" if name == "other.example" else "other.example"

    def trusts(query: str) -> bool:
        before = server.n_trusted
        app = create_app(f"{scheme}://:secret@localhost:{server.port}/0?{query}")
        app.conf.broker_transport_options |= {"max_retries": 1, "interval_start": 0, "interval_step": 0}
        with pytest.raises(OperationalError):  # either way: what listens is no broker
            app.connection_for_read().default_channel.queue_declare("detect", passive=True)
        return server.n_trusted > before

    assert trusts(f"ssl_ca_certs={certificates / name}.pem") == (name == "localhost")
    assert not trusts(f"ssl_ca_certs={certificates / other}.pem")
    assert not trusts("")
    assert trusts(f"ssl_ca_certs={certificates / name}.pem&ssl_check_hostname=false")
    assert trusts("ssl_cert_reqs=none")


def test_what_says_nothing_of_tls_stays_as_it_is() -> None:
    for url in ("redis://:p%3Fw@host/0", "amqp://u:p@host/v?heartbeat=30", "memory://"):
        assert split_tls(url) == (url, None)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_url_goes_on_without_its_words_of_tls(scheme: str) -> None:
    url, _ = split_tls(f"{scheme}://u:p%2Fw%3F@host:1/v?ssl_cert_reqs=none&heartbeat=30")
    assert url == f"{scheme}://u:p%2Fw%3F@host:1/v?heartbeat=30"


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("rediss://host/0?ssl_ca_cert=/etc/ca.pem", "unknown ssl_ca_cert .* ssl_ca_certs"),
        ("amqps://host//?ssl_ca_certs=/nowhere/ca.pem", "no file /nowhere/ca.pem"),
        ("amqps://host//?ssl_cert_reqs=yes", "ssl_cert_reqs=yes .* required or none"),
        ("https://host/0", "https:// is not supported"),
        ("redis://host/0?ssl_cert_reqs=required", "not for redis://"),
    ],
)
def test_a_wrong_word_of_tls_is_named(url: str, words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        split_tls(url)
