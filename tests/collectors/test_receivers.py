"""Both receivers, answered as OTLP wants it, over a real pipeline and real stores."""

from __future__ import annotations

import base64
import contextlib
import gzip
import random
import threading
import time
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import grpc
import httpx2
import pytest
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult

from monitor.errors import PortBusy, StoreAway
from monitor.serve.ports import bind, port_of
from monitor.store.client import Client, connect
from monitor.store.migrate import ensure_database, migrate
from tests.collectors.payloads import body, request
from tests.collectors.receiving import Receiving, receiving
from tests.conftest import empty_all, with_database

EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
PROTOBUF = {"content-type": "application/x-protobuf"}
LIMIT = 100_000
CLIENT = httpx2.Client(timeout=20)


def post(target: Receiving, content: bytes, path: str = "/v1/traces", **headers: str) -> httpx2.Response:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return CLIENT.post(f"{target.http}{path}", content=content, headers={**PROTOBUF, **given})


def export(target: Receiving, content: bytes, method: str = EXPORT, **options: Any) -> bytes:
    with grpc.insecure_channel(target.grpc, options=[("grpc.max_send_message_length", -1)]) as channel:
        answer: bytes = channel.unary_unary(method)(content, timeout=20, **options)
        return answer


def refused(target: Receiving, content: bytes, **options: Any) -> grpc.RpcError:
    with pytest.raises(grpc.RpcError) as caught:
        export(target, content, **options)
    return caught.value


def wait_stored(target: Receiving) -> None:
    deadline = time.monotonic() + 30
    while target.snapshot().waiting:
        assert time.monotonic() < deadline, target.pipeline.trouble()
        time.sleep(0.01)


@pytest.fixture(scope="module")
def embedded(chdb_url: str) -> Iterator[str]:
    """A database of its own in the session's embedded store; the url a pipeline can use is that of the default one."""
    keeper = connect(chdb_url)
    migrate(keeper)
    yield chdb_url
    empty_all(keeper)
    keeper.close()


@pytest.fixture(scope="module")
def target(embedded: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Receiving]:
    with receiving(tmp_path_factory.mktemp("receivers") / "data", embedded, max_message_bytes=LIMIT) as found:
        yield found


def stored(client: Client, first: int, spans: int) -> int:
    ids = [number.to_bytes(16, "big").hex() for number in range(first, first + spans)]
    return int(
        client.command("SELECT count() FROM otel_traces WHERE TraceId IN {ids:Array(String)}", parameters={"ids": ids})
    )


def spans_through(exporter: SpanExporter) -> tuple[SpanExportResult, str]:
    """One span of the official SDK, sent by this exporter; its trace id."""
    results = []

    class Seen(SimpleSpanProcessor):
        def on_end(self, span: Any) -> None:
            results.append(exporter.export([span]))

    provider = TracerProvider(resource=Resource.create({"service.name": "official"}), shutdown_on_exit=False)
    provider.add_span_processor(Seen(exporter))
    with provider.get_tracer("t").start_as_current_span("chat m", attributes={"gen_ai.operation.name": "chat"}) as span:
        trace_id = f"{span.get_span_context().trace_id:032x}"
    exporter.shutdown()
    return results[0], trace_id


@pytest.mark.parametrize("kind", ["grpc", "grpc-gzip", "http", "http-gzip", "http-deflate"])
def test_official_exporters(target: Receiving, embedded: str, kind: str) -> None:
    exporter: SpanExporter
    if kind.startswith("grpc"):
        compression = grpc.Compression.Gzip if kind.endswith("gzip") else None
        exporter = GrpcExporter(endpoint=target.grpc, insecure=True, compression=compression)
    else:
        how = {"http": Compression.NoCompression, "http-gzip": Compression.Gzip, "http-deflate": Compression.Deflate}[
            kind
        ]
        exporter = HttpExporter(endpoint=f"{target.http}/v1/traces", compression=how)
    result, trace_id = spans_through(exporter)
    assert result is SpanExportResult.SUCCESS
    wait_stored(target)
    client = connect(embedded)
    rows = client.query(
        "SELECT ServiceName, SpanName FROM otel_traces WHERE TraceId = {id:String}", parameters={"id": trace_id}
    ).result_rows
    client.close()
    assert rows == [("official", "chat m")]


def test_success_is_an_empty_message(target: Receiving) -> None:
    assert export(target, body(100)) == b""
    answer = post(target, body(110))
    assert (answer.status_code, answer.content, answer.headers["content-type"]) == (200, b"", "application/x-protobuf")


@pytest.mark.parametrize("empty", [b"", request(1, 0).SerializeToString()], ids=["no bytes", "no spans"])
def test_an_empty_request_succeeds(target: Receiving, empty: bytes) -> None:
    assert export(target, empty) == b""
    assert post(target, empty).status_code == 200


def _with_bad_ids() -> bytes:
    message = request(200, 4)
    spans = message.resource_spans[0].scope_spans[0].spans
    spans[0].trace_id, spans[1].span_id, spans[2].trace_id = b"short", b"123456789", bytes(16)
    return message.SerializeToString()


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_spans_with_bad_ids_are_reported_and_the_others_stored(target: Receiving, embedded: str, protocol: str) -> None:
    before = target.snapshot().rejected
    content = export(target, _with_bad_ids()) if protocol == "grpc" else post(target, _with_bad_ids()).content
    partial = ExportTraceServiceResponse.FromString(content).partial_success
    assert partial.rejected_spans == 3
    assert "invalid_trace_id: 2" in partial.error_message
    assert "invalid_span_id: 1" in partial.error_message
    after = target.snapshot().rejected
    assert after["invalid_trace_id"] - before.get("invalid_trace_id", 0) == 2
    wait_stored(target)
    client = connect(embedded)
    assert stored(client, 203, 1) >= 1
    client.close()


MALFORMED = {
    "garbage": b"\xff\xfe garbage",
    "cut off": body(1)[:-3],
    "not UTF-8": body(1).replace(b"chat m", b"\xff\xff\xff\xff\xff\xff"),
}


@pytest.mark.parametrize("name", list(MALFORMED))
def test_malformed_requests_are_refused_for_good(target: Receiving, name: str) -> None:
    error = refused(target, MALFORMED[name])
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    answer = post(target, MALFORMED[name])
    assert answer.status_code == 400
    status = Status.FromString(answer.content)
    assert status.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    assert "ExportTraceServiceRequest" in status.message
    assert answer.headers["content-type"] == "application/x-protobuf"


@pytest.mark.parametrize("content_type", ["application/xml", "text/plain", ""])
def test_other_content_types(target: Receiving, content_type: str) -> None:
    answer = post(target, body(1), content_type=content_type)
    assert answer.status_code == 415
    assert "application/x-protobuf" in Status.FromString(answer.content).message


def test_content_type_may_have_parameters(target: Receiving) -> None:
    assert post(target, body(300), content_type="Application/X-Protobuf; charset=utf-8").status_code == 200


BROKEN_BODIES = {
    "not gzip": ("gzip", b"not gzip at all", 400),
    "cut gzip": ("gzip", gzip.compress(body(1))[:-9], 400),
    "damaged gzip": ("gzip", gzip.compress(body(1))[:20] + b"\0\0\0\0" + gzip.compress(body(1))[24:], 400),
    "bomb": ("gzip", gzip.compress(bytes(50 * LIMIT)), 413),
    "deflate bomb": ("deflate", zlib.compress(bytes(50 * LIMIT)), 413),
    "too large": ("identity", bytes(LIMIT + 1), 413),
    "unknown encoding": ("br", b"x", 415),
}


@pytest.mark.parametrize("name", list(BROKEN_BODIES))
def test_broken_bodies(target: Receiving, name: str) -> None:
    encoding, content, status = BROKEN_BODIES[name]
    answer = post(target, content, content_encoding=encoding)
    assert answer.status_code == status
    assert Status.FromString(answer.content).message


def test_too_large_over_grpc_is_no_retry(target: Receiving) -> None:
    error = refused(target, bytes(LIMIT + 1))
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "google.rpc.retryinfo-bin" not in dict(error.trailing_metadata() or ())
    bomb = refused(target, bytes(50 * LIMIT), compression=grpc.Compression.Gzip)
    assert bomb.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_wrong_method_and_unknown_paths(target: Receiving) -> None:
    wrong = CLIENT.get(f"{target.http}/v1/traces")
    assert (wrong.status_code, wrong.headers["allow"]) == (405, "POST")
    assert post(target, b"", path="/v1/profiles").status_code == 404
    with pytest.raises(grpc.RpcError) as caught:
        export(target, b"", method="/opentelemetry.proto.collector.profiles.v1development.ProfilesService/Export")
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def basic(user: str, password: str) -> str:
    return f"Basic {base64.b64encode(f'{user}:{password}'.encode('latin-1')).decode()}"


def test_tokens(embedded: str, tmp_path: Path) -> None:
    with receiving(tmp_path / "data", embedded, tokens=("secret-one", "secret-two")) as guarded:
        for wrong in (
            {},
            {"authorization": "Bearer no"},
            {"authorization": "Basic secret-one"},
            {"authorization": basic("secret-one", "")},
            {"authorization": basic("pk", "secret")},
            {"authorization": basic("pk", "\N{EURO SIGN}".encode("utf-16").decode("latin-1"))},
            {"authorization": "Bearer"},
        ):
            answer = post(guarded, body(1), **wrong)
            assert answer.status_code == 401
            assert "secret" not in answer.text
            error = refused(guarded, body(1), metadata=tuple(wrong.items()))
            assert error.code() is grpc.StatusCode.UNAUTHENTICATED
        assert post(guarded, body(400), authorization="Bearer secret-two").status_code == 200
        assert export(guarded, body(410), metadata=(("authorization", "bearer secret-one"),)) == b""
        assert post(guarded, body(420), authorization=basic("pk", "secret-one")).status_code == 200
        assert guarded.snapshot().refused_requests == {"unauthenticated": 14}


def test_langfuse_sends_to_a_path_of_its_own(target: Receiving, embedded: str) -> None:
    """As its SDK does with `LANGFUSE_BASE_URL` set to our address."""
    path = "/api/public/otel/v1/traces"
    assert post(target, body(4300, 2), path=path).status_code == 200
    wait_stored(target)
    with contextlib.closing(connect(embedded)) as client:
        assert stored(client, 4300, 2) == 2
    wrong = CLIENT.get(f"{target.http}{path}")
    assert (wrong.status_code, wrong.headers["allow"]) == (405, "POST")


class Away:
    """A store that does not answer."""

    def absent(self, spans: Sequence[tuple[str, str]]) -> set[tuple[str, str]]:
        return set()

    def insert(self, path: Path, token: str) -> None:
        raise StoreAway("ClickHouse is away")

    def close(self) -> None:
        pass


def test_back_pressure_is_retryable_and_says_when(embedded: str, tmp_path: Path) -> None:
    """The store is away and the log is full: refused, nothing of it taken; what was taken stays."""
    big = request(500, 200).SerializeToString()
    # The least that the setting allows is a mebibyte: fill it.
    with receiving(tmp_path / "data", embedded, inserter=Away, max_wal_bytes=1024 * 1024) as full:
        while (answer := post(full, big)).status_code == 200:
            pass
        taken = full.snapshot()
        assert answer.status_code == 503
        assert 1 <= int(answer.headers["retry-after"]) <= 5
        error = refused(full, big)
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        trailing = dict(error.trailing_metadata() or ())
        assert 1 <= RetryInfo.FromString(trailing["google.rpc.retryinfo-bin"]).retry_delay.seconds <= 5
        details = Status.FromString(trailing["grpc-status-details-bin"]).details
        assert len(details) == 1
        assert details[0].Is(RetryInfo.DESCRIPTOR)
        assert full.snapshot().received == taken.received == taken.waiting > 0
        readiness = CLIENT.get(f"{full.http}/readyz")
        assert readiness.status_code == 503
        assert "ClickHouse is away" in readiness.json()["trouble"]
        assert CLIENT.get(f"{full.http}/healthz").json() == {"status": "ok"}
    # The same log, with the store back: nothing was lost.
    with receiving(tmp_path / "data", embedded) as back:
        wait_stored(back)
        snapshot = back.snapshot()
        assert (snapshot.recovered, snapshot.stored) == (taken.received, taken.received)


def test_short_answers_need_not_wait() -> None:
    """asyncio turns Nagle's algorithm off (an answer of 40 ms else) only for sockets that name their protocol."""
    import socket

    with bind("127.0.0.1", 0, "a test", "--http-port") as sock:
        assert sock.proto == socket.IPPROTO_TCP


def test_busy_ports_are_said(target: Receiving) -> None:
    from collectors.otlp.grpc_receiver import make_server

    port = int(target.grpc.rsplit(":", 1)[1])
    with bind("127.0.0.1", 0, "a test", "--http-port") as taken:
        with pytest.raises(PortBusy, match=rf"port {port_of(taken)} .* --http-port"):
            bind("127.0.0.1", port_of(taken), "OTLP/HTTP", "--http-port")

    async def second() -> None:
        make_server(target.pipeline, host="127.0.0.1", port=port, max_message_bytes=LIMIT, tokens=())

    import asyncio

    with pytest.raises(PortBusy, match=rf"port {port} .* --grpc-port"):
        asyncio.run(second())


def test_counters_add_up_at_every_moment(embedded: str, tmp_path: Path) -> None:
    """Under load from many threads with good, bad and half-bad requests."""
    wrong: list[str] = []
    refusals: set[grpc.StatusCode] = set()
    done = threading.Event()
    with receiving(tmp_path / "data", embedded) as busy:

        def watch() -> None:
            while not done.is_set():
                s = busy.snapshot()
                if s.received != s.stored + sum(s.rejected.values()) + s.waiting:
                    wrong.append(str(s))

        def send(seed: int) -> None:
            chance = random.Random(seed)
            with grpc.insecure_channel(busy.grpc) as channel:
                call = channel.unary_unary(EXPORT)
                for number in range(40):
                    first = 10_000 + seed * 1000 + number * 20
                    content = chance.choice([body(first, 20), _with_bad_ids(), MALFORMED["garbage"]])
                    try:
                        call(content, timeout=20)
                    except grpc.RpcError as error:
                        refusals.add(error.code())

        watcher = threading.Thread(target=watch)
        senders = [threading.Thread(target=send, args=(seed,)) for seed in range(4)]
        for thread in (watcher, *senders):
            thread.start()
        for thread in senders:
            thread.join()
        wait_stored(busy)
        done.set()
        watcher.join()
        final = busy.snapshot()
    assert not wrong
    assert refusals == {grpc.StatusCode.INVALID_ARGUMENT}
    assert final.waiting == 0
    assert final.received == final.stored + sum(final.rejected.values()) > 0
    assert final.refused_requests["malformed"] > 0


def test_mutated_requests_never_hurt(target: Receiving, embedded: str) -> None:
    """Random damage to a real request: an answer that OTLP knows, a living server, and good requests stored."""
    chance = random.Random(7)
    good = request(1, 2).SerializeToString()
    codes = set()
    with grpc.insecure_channel(target.grpc) as channel:
        call = channel.unary_unary(EXPORT)
        for number in range(2000):
            damaged = bytearray(good)
            for _ in range(chance.randrange(1, 6)):
                damaged[chance.randrange(len(damaged))] = chance.randrange(256)
            content = bytes(damaged[: chance.randrange(1, len(damaged) + 1)] if chance.random() < 0.3 else damaged)
            if number % 2:
                answer = CLIENT.post(f"{target.http}/v1/traces", content=content, headers=PROTOBUF)
                codes.add(answer.status_code)
            else:
                try:
                    call(content, timeout=20)
                except grpc.RpcError as error:
                    codes.add(error.code())
    assert codes <= {200, 400, grpc.StatusCode.INVALID_ARGUMENT}
    assert {200, 400, grpc.StatusCode.INVALID_ARGUMENT} <= codes
    export(target, body(900, 5))
    wait_stored(target)
    reader = connect(embedded)
    assert stored(reader, 900, 5) == 5
    reader.close()
    snapshot = target.snapshot()
    assert "unreadable" not in snapshot.rejected, "what is acknowledged is stored, whatever the encoding"


def test_a_real_server_takes_the_same(clickhouse_url: str, tmp_path: Path) -> None:
    admin = connect(clickhouse_url, database="default")
    name = f"receivers_{time.time_ns()}"
    ensure_database(admin, name)
    url = with_database(clickhouse_url, name)
    client = connect(url)
    migrate(client)
    with receiving(tmp_path / "data", url) as target:
        export(target, body(1, 50))
        post(target, body(51, 50))
        wait_stored(target)
    assert client.query("SELECT count(), uniqExact(TraceId) FROM otel_traces").result_rows == [(100, 100)]
    assert client.command("SELECT count() FROM inferences FINAL") == 100
    admin.command(f"DROP DATABASE {name}")
    client.close()
    admin.close()
