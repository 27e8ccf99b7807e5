"""What a peer may do to the sockets: TLS, tokens before the body, slow and silent connections, browsers."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import grpc
import httpx2
import pytest
import trustme
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter

from monitor.errors import ConfigError
from monitor.serve.http import read_tls
from monitor.settings import CollectorSettings, load_settings
from tests.collectors.payloads import body
from tests.collectors.receiving import Receiving, receiving
from tests.tools import service

EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
PROTOBUF = {"content-type": "application/x-protobuf"}


class Away:
    """An inserter of a store that never answers: these tests look at sockets only."""

    def absent(self, spans: Sequence[tuple[str, str]]) -> set[tuple[str, str]]:
        return set()

    def insert(self, path: Path, token: str) -> None:
        raise OSError("away")

    def close(self) -> None: ...


@contextlib.contextmanager
def sockets(tmp_path: Path, **limits: object) -> Iterator[Receiving]:
    with receiving(tmp_path / "data", "chdb:///unused", inserter=Away, **limits) as target:
        yield target


def address(target: Receiving) -> tuple[str, int]:
    host, _, port = target.http.removeprefix("http://").rpartition(":")
    return host, int(port)


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def pem(authority: trustme.CA, tmp_path: Path) -> tuple[Path, Path, Path]:
    """Files of a certificate for localhost, its key, and the authority that signed it."""
    issued = authority.issue_cert("localhost", "127.0.0.1")
    cert, key, ca = tmp_path / "cert.pem", tmp_path / "key.pem", tmp_path / "ca.pem"
    for blob in issued.cert_chain_pems:
        blob.write_to_path(cert, append=True)
    issued.private_key_pem.write_to_path(key)
    authority.cert_pem.write_to_path(ca)
    return cert, key, ca


def test_the_service_over_tls(pem: tuple[Path, Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The official exporters, both transports, against a real service; a plain client and a stranger's trust get nowhere."""
    # The HTTP exporter's library lets these have their way over what it is given.
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    cert, key, ca = pem
    env = {"MONITOR_COLLECTORS__TLS_CERT": str(cert), "MONITOR_COLLECTORS__TLS_KEY": str(key)}
    with service.running(tmp_path / "data", env=env) as running:
        assert running.addresses["http"].startswith("https://127.0.0.1:")
        trusted = grpc.ssl_channel_credentials(ca.read_bytes())
        exporters: list[SpanExporter] = [
            GrpcExporter(endpoint=running.addresses["grpc"].replace("127.0.0.1", "localhost"), credentials=trusted),
            HttpExporter(endpoint=f"{running.addresses['http']}/v1/traces", certificate_file=str(ca)),
        ]
        for exporter in exporters:
            provider = TracerProvider()
            provider.add_span_processor(SimpleSpanProcessor(exporter))
            with provider.get_tracer("tls").start_as_current_span("one"):
                pass
            provider.shutdown()
        context = ssl.create_default_context(cafile=str(ca))
        client = httpx2.Client(verify=context, timeout=20)
        deadline = time.monotonic() + 20
        while "monitor_collector_spans_stored_total 2\n" not in client.get(f"{running.addresses['http']}/metrics").text:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        with pytest.raises(httpx2.HTTPError):
            httpx2.get(running.addresses["http"].replace("https", "http") + "/healthz", timeout=5)
        with pytest.raises(httpx2.ConnectError, match=r"(?i)certificate"):
            httpx2.get(running.addresses["http"] + "/healthz", timeout=5)
        with grpc.insecure_channel(running.addresses["grpc"]) as channel, pytest.raises(grpc.RpcError):
            channel.unary_unary(EXPORT)(body(1, 1), timeout=5)
        # The check that an operator runs on the same machine trusts the certificate that the service is set to use.
        checked = service.run("check", "--data", str(tmp_path / "data"), env=env)
        assert "spans are taken and stored" in checked.stdout, checked.stdout + checked.stderr
        assert checked.returncode == 0


def test_tls_files_that_do_not_fit(pem: tuple[Path, Path, Path], authority: trustme.CA, tmp_path: Path) -> None:
    cert, key, _ = pem
    other = tmp_path / "other.pem"
    authority.issue_cert("elsewhere").private_key_pem.write_to_path(other)
    for given, said in (
        ({"tls_cert": cert, "tls_key": tmp_path / "none.pem"}, r"tls_key: .*none\.pem cannot be read: No such file"),
        ({"tls_cert": cert, "tls_key": other}, r"no PEM certificate and its key: KEY_VALUES_MISMATCH"),
        ({"tls_cert": key, "tls_key": key}, r"no PEM certificate"),
    ):
        with pytest.raises(ConfigError, match=said):
            read_tls(CollectorSettings(**given))
    with pytest.raises(ConfigError, match=r"`collectors.tls_cert` is set, but `collectors.tls_key` is not"):
        load_settings(None, tmp_path, tls_cert=cert)


def test_a_call_without_a_token_is_refused_before_its_message_is_read(tmp_path: Path) -> None:
    with sockets(tmp_path, tokens=("secret",), max_message_bytes=100_000_000) as target:
        size, begun = 50_000_000, time.monotonic()
        with grpc.insecure_channel(target.grpc, options=[("grpc.max_send_message_length", -1)]) as channel:
            with pytest.raises(grpc.RpcError) as caught:
                channel.unary_unary(EXPORT)(bytes(size), timeout=30)
            assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
            accepted = channel.unary_unary(EXPORT)(
                body(1, 1), timeout=20, metadata=[("authorization", "Bearer secret")]
            )
        assert accepted == b""
        assert time.monotonic() - begun < 20
        # And over HTTP: the head is enough.
        with socket.create_connection(address(target), timeout=10) as peer:
            peer.sendall(
                b"POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-protobuf\r\nContent-Length: 50000000\r\n\r\n"
            )
            assert peer.recv(100).startswith(b"HTTP/1.1 401")
        assert target.snapshot().refused_requests == {"unauthenticated": 2}


def test_a_head_that_does_not_come_is_hung_up_on(tmp_path: Path) -> None:
    """Silent connections, heads that trickle, and a second request that trickles on a kept connection."""
    with sockets(tmp_path, request_timeout_s=0.6) as target:
        silent = socket.create_connection(address(target), timeout=10)
        trickling = socket.create_connection(address(target), timeout=10)
        kept = socket.create_connection(address(target), timeout=10)
        kept.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = b""
        while not answer.endswith(b"}"):
            answer += kept.recv(1000)
        assert answer.startswith(b"HTTP/1.1 200")
        begun = time.monotonic()
        with contextlib.suppress(OSError):
            for byte in b"POST /v1/traces HTTP/1.1\r\nHost: example" * 3:
                for peer in (trickling, kept):
                    peer.sendall(bytes([byte]))
                time.sleep(0.05)
        assert time.monotonic() - begun < 5
        for peer in (silent, trickling, kept):
            with contextlib.suppress(ConnectionError):
                assert peer.recv(100) == b""
            peer.close()
        # Others are served as before, on connections that are used often enough too.
        with httpx2.Client(timeout=10) as client:
            for _ in range(6):
                assert client.get(f"{target.http}/healthz").status_code == 200
                time.sleep(0.2)


def test_a_body_that_trickles_is_refused_and_may_be_sent_again(tmp_path: Path) -> None:
    with sockets(tmp_path, request_timeout_s=0.5) as target:
        with socket.create_connection(address(target), timeout=10) as peer:
            peer.sendall(
                b"POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-protobuf\r\nContent-Length: 1000\r\n\r\n"
            )
            stop = threading.Event()

            def trickle() -> None:
                with contextlib.suppress(OSError):
                    while not stop.wait(0.1):
                        peer.sendall(b"x")

            thread = threading.Thread(target=trickle)
            thread.start()
            answer = b""
            with contextlib.suppress(ConnectionError):
                while part := peer.recv(1000):
                    answer += part
            stop.set()
            thread.join()
        assert answer.startswith(b"HTTP/1.1 503")
        assert b"retry-after: 1" in answer.lower()
        assert b"did not come within 0.5 s" in answer
        assert target.snapshot().refused_requests == {"too_slow": 1}
        assert target.pipeline.inflight.bytes == 0


def test_too_many_connections_get_a_retryable_answer(tmp_path: Path) -> None:
    with sockets(tmp_path, max_connections=20) as target:
        held = [socket.create_connection(address(target), timeout=10) for _ in range(20)]
        answer = httpx2.post(f"{target.http}/v1/traces", content=body(1, 1), headers=PROTOBUF, timeout=10)
        assert answer.status_code == 503
        for peer in held:
            peer.close()
        deadline = time.monotonic() + 10
        while httpx2.get(f"{target.http}/healthz", timeout=10).status_code != 200:
            assert time.monotonic() < deadline


def test_far_too_many_connections_are_closed_as_they_come(tmp_path: Path) -> None:
    with sockets(tmp_path, max_connections=5) as target, contextlib.ExitStack() as stack:

        def connect(to: tuple[str, int]) -> socket.socket:
            return stack.enter_context(socket.create_connection(to, timeout=10))

        # Over HTTP, 64 more are let in, to be told that there are too many.
        held = [connect(address(target)) for _ in range(5 + 64)]
        for _ in range(10):
            assert connect(address(target)).recv(100) == b""
        held[-1].sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert held[-1].recv(100).startswith(b"HTTP/1.1 503")
        assert target.pipeline.closed_connections.snapshot() == {"too_many": 10}
        host, _, port = target.grpc.rpartition(":")
        asked = [connect((host, int(port))) for _ in range(5)]
        assert all(peer.recv(100) for peer in asked)  # the server's greeting
        for _ in range(10):
            with contextlib.suppress(ConnectionError):
                assert connect((host, int(port))).recv(100) == b""
        # Once those are gone, others are let in.
        for peer in (*held, *asked):
            peer.close()
        with grpc.insecure_channel(target.grpc) as channel:
            assert channel.unary_unary(EXPORT)(body(1, 1), timeout=20, wait_for_ready=True) == b""
        deadline = time.monotonic() + 10
        while httpx2.get(f"{target.http}/healthz", timeout=10).status_code != 200:
            assert time.monotonic() < deadline


def test_browsers_may_send_from_the_origins_that_are_set(tmp_path: Path) -> None:
    asks = {
        "origin": "https://app.example.com",
        "access-control-request-method": "POST",
        "access-control-request-headers": "content-type",
    }
    with sockets(tmp_path, cors_origins=["https://app.example.com"]) as target:
        allowed = httpx2.options(f"{target.http}/v1/traces", headers=asks, timeout=10)
        assert allowed.status_code == 200
        assert allowed.headers["access-control-allow-origin"] == "https://app.example.com"
        refused = httpx2.options(
            f"{target.http}/v1/traces", headers={**asks, "origin": "https://evil.example"}, timeout=10
        )
        assert refused.status_code == 400
        assert "access-control-allow-origin" not in refused.headers
        sent = httpx2.post(
            f"{target.http}/v1/traces", content=b"", headers={**PROTOBUF, "origin": asks["origin"]}, timeout=10
        )
        assert sent.headers["access-control-allow-origin"] == asks["origin"]
    with sockets(tmp_path) as target:
        assert httpx2.options(f"{target.http}/v1/traces", headers=asks, timeout=10).status_code == 405
