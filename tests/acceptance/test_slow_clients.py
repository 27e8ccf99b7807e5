"""A collector among hundreds of connections that say next to nothing, and bodies that inflate to gigabytes."""

from __future__ import annotations

import contextlib
import re
import ssl
import threading
import time
import urllib.request
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import grpc
import httpx2
import pytest
import trustme

from collectors.otlp.signals import TRACES
from monitor.store.client import connect
from tests.collectors.payloads import body
from tests.endurance.memory import few_files, open_files, resident_bytes
from tests.tools import http2, service
from tests.tools.collecting import collecting
from tests.tools.hostile import Habit, SlowClients, zlib_bomb, zstd_bomb
from tests.tools.sending import Client

METHOD: Final = f"/{TRACES.service}/Export"
HEAD: Final = b"POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-protobuf\r\n"
MIB: Final = 2**20
EACH: Final = 50
# `request_timeout_s`, and what follows from it for a gRPC connection that goes on speaking.
TIMEOUT_S: Final = 1.0
RENEWED_S: Final = (9 * TIMEOUT_S, 12 * TIMEOUT_S)
# Later than it should be on a machine that does much else.
LATE_S: Final = 2.5
MESSAGE_MAX: Final = 16 * MIB
BOMB_MIB: Final = 2048


def habits(http: str, grpc_address: str) -> dict[str, Habit]:
    """Kinds of clients that never come to the end of a request; those that are allowed to take longer last."""
    begun = http2.greeting() + http2.call(METHOD)
    part = begun + http2.frame(http2.DATA, 0, 1, http2.message_head(1000) + bytes(500))
    return {
        "http: nothing": Habit(address=http),
        "http: a head byte by byte": Habit(address=http, drips=5 * HEAD),
        "http: half a head": Habit(address=http, says=HEAD),
        "http: half a body": Habit(address=http, says=HEAD + b"Content-Length: 1000\r\n\r\n" + bytes(500)),
        "http: a body byte by byte": Habit(address=http, says=HEAD + b"Content-Length: 1000\r\n\r\n", drips=bytes(900)),
        "grpc: nothing": Habit(address=grpc_address),
        "grpc: a preface": Habit(address=grpc_address, says=http2.PREFACE),
        "grpc: a preface byte by byte": Habit(address=grpc_address, drips=http2.greeting()),
        "grpc: no call": Habit(address=grpc_address, says=http2.greeting()),
        "grpc: a call without data": Habit(address=grpc_address, says=begun),
        "grpc: half a message": Habit(address=grpc_address, says=part),
        "grpc: a message byte by byte": Habit(
            address=grpc_address, says=part, drips=100 * http2.frame(http2.DATA, 0, 1, b"x")
        ),
    }


class Peaks:
    """The most memory and files that a process has had, looked at all the while."""

    def __init__(self, pid: int) -> None:
        self.bytes = self.files = 0
        self._pid = pid
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def _watch(self) -> None:
        while not self._stop.wait(0.02):
            self.bytes = max(self.bytes, resident_bytes(self._pid))
            self.files = max(self.files, open_files(self._pid))

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()


@pytest.fixture
def database(clickhouse_url: str) -> Iterator[str]:
    name = f"slow_{uuid.uuid4().hex[:8]}"
    yield name
    admin = connect(clickhouse_url, database="default")
    admin.command(f"DROP DATABASE IF EXISTS {name}")
    admin.close()


def test_others_are_served_among_slow_clients_and_bombs(clickhouse_url: str, database: str, tmp_path: Path) -> None:
    limits = {"request_timeout_s": str(TIMEOUT_S), "max_message_bytes": str(MESSAGE_MAX)}
    with contextlib.ExitStack() as stack:
        with few_files(256):
            running = stack.enter_context(collecting(tmp_path / "data", clickhouse_url, database=database, **limits))
        addresses, pid = running.service.addresses, running.service.process.pid
        clients = [Client(kind, addresses, "", number=number) for number, kind in enumerate(("grpc", "http"))]
        for client in clients:
            stack.callback(client.abandon)
        # What is made at the first request, and at the first bomb of each kind, is there for good.
        _throw_bombs(addresses)
        files, memory = open_files(pid), resident_bytes(pid)
        peaks = Peaks(pid)
        stack.callback(peaks.stop)
        kinds = habits(addresses["http"].removeprefix("http://"), addresses["grpc"])
        slow = SlowClients(kinds, each=EACH)
        stack.callback(slow.stop)
        deadline = time.monotonic() + RENEWED_S[1] + LATE_S
        rounds = 1
        while slow.count_open() and time.monotonic() < deadline:
            if rounds < 8:
                _throw_bombs(addresses)
                rounds += 1
            time.sleep(0.1)
        slow.stop()
        for client in clients:
            client.stop()
        peaks.stop()
        _check_closed(slow)
        for client in clients:
            assert {(answer.outcome, answer.text) for answer in client.answers} == {
                ("acknowledged", client.answers[0].text)
            }
            assert len(client.answers) > 50
        running.wait_until_stored()
        assert running.service.ready() is None
        assert _counted(addresses["http"]) == {
            'connections_closed_total{reason="too_slow"}': 3 * EACH,
            'requests_refused_total{signal="traces",reason="too_slow"}': 2 * EACH,
            'requests_refused_total{signal="traces",reason="too_large"}': 3 * rounds,
        }
        # All were open at the same time; then they were gone.
        assert files + 12 * EACH <= peaks.files < files + 12 * EACH + 60
        _wait_for_files(pid, files)
        # Five bombs at once, each let in up to the limit and held in two copies at most while it is put together.
        assert peaks.bytes < memory + 2 * 5 * MESSAGE_MAX + 64 * MIB
        assert resident_bytes(pid) < memory + 64 * MIB
        assert "Traceback" not in running.log()
        store = connect(running.url)
        sent = sorted(f"{number:016x}" for client in clients for number in client.acknowledged)
        assert [str(row[0]) for row in store.query("SELECT SpanId FROM otel_traces ORDER BY 1").result_rows] == sent
        store.close()


def _throw_bombs(addresses: Mapping[str, str]) -> None:
    """One of each kind at the same time; each must be refused as too large, and no client should send it again."""
    bombs = {
        "gzip": zlib_bomb(BOMB_MIB, gzip=True),
        "deflate": zlib_bomb(BOMB_MIB, gzip=False),
        "zstd": zstd_bomb(BOMB_MIB),
    }

    def over_http(encoding: str) -> int:
        headers = {"content-type": "application/x-protobuf", "content-encoding": encoding}
        url = f"{addresses['http']}/v1/traces"
        return httpx2.post(url, content=bombs[encoding], headers=headers, timeout=10).status_code

    def over_grpc(encoding: str) -> int | None:
        with pytest.raises(http2.Refused) as caught:
            http2.send_call(addresses["grpc"], METHOD, bombs[encoding], encoding=encoding, timeout_s=10)
        return caught.value.status

    with ThreadPoolExecutor(5) as pool:
        http = [pool.submit(over_http, encoding) for encoding in bombs]
        over = [pool.submit(over_grpc, encoding) for encoding in ("gzip", "deflate")]
        assert [each.result() for each in http] == [413] * 3
        assert [each.result() for each in over] == [grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]] * 2


def _check_closed(slow: SlowClients) -> None:
    """Each was hung up on in its time; those that got as far as a body or a call were told why."""
    for number, (name, clients) in enumerate(slow.held.items()):
        least, most = (TIMEOUT_S, TIMEOUT_S) if number < 8 else RENEWED_S
        took = [client.closed_after_s for client in clients]
        late = [each for each in took if each is None or not least - 0.1 <= each <= most + LATE_S]
        assert not late, f"{name}: closed after {late} s"
        said = {
            "http: half a body": b"HTTP/1.1 503",
            "http: a body byte by byte": b"HTTP/1.1 503",
            "grpc: nothing": b"Did not receive HTTP/2 settings before handshake timeout",
            "grpc: a call without data": b"max connection age",
        }.get(name)
        assert said is None or all(said in client.heard for client in clients), name


def _counted(http: str) -> dict[str, int]:
    with urllib.request.urlopen(f"{http}/metrics", timeout=10) as answer:
        page = answer.read().decode()
    pattern = r"^monitor_collector_((?:connections_closed|requests_refused)_total\{.*\}) (\d+)$"
    return {name: int(count) for name, count in re.findall(pattern, page, re.MULTILINE)}


def _wait_for_files(pid: int, most: int) -> None:
    deadline = time.monotonic() + 10
    while open_files(pid) > most + 8:
        assert time.monotonic() < deadline, f"{open_files(pid)} files are open, {most} were before"
        time.sleep(0.1)


def test_a_handshake_that_does_not_come_is_hung_up_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """TLS on both ports: nothing, and half a greeting; others are served meanwhile."""
    authority = trustme.CA()
    issued = authority.issue_cert("localhost", "127.0.0.1")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    issued.private_key_and_cert_chain_pem.write_to_path(tmp_path / "server.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    env = {
        "MONITOR_COLLECTORS__TLS_CERT": str(tmp_path / "server.pem"),
        "MONITOR_COLLECTORS__TLS_KEY": str(tmp_path / "server.pem"),
        "MONITOR_COLLECTORS__REQUEST_TIMEOUT_S": str(TIMEOUT_S),
        **service.NO_JOBS,
    }
    with service.running(tmp_path / "data", env=env) as running:
        pid, addresses = running.process.pid, running.addresses
        files = open_files(pid)
        hello = _client_hello()
        slow = SlowClients(
            {
                f"{port}: {name}": Habit(address=addresses[port].removeprefix("https://"), says=says)
                for port in ("http", "grpc")
                for name, says in {
                    "nothing": b"",
                    "half a greeting": hello[: len(hello) // 2],
                    "a greeting": hello,
                }.items()
            },
            each=EACH,
        )
        request.addfinalizer(slow.stop)
        trusted = grpc.ssl_channel_credentials((tmp_path / "ca.pem").read_bytes())
        sent = 0
        with (
            httpx2.Client(base_url=addresses["http"], verify=ssl.create_default_context(), timeout=10) as http,
            grpc.secure_channel(addresses["grpc"].replace("127.0.0.1", "localhost"), trusted) as channel,
        ):
            deadline = time.monotonic() + TIMEOUT_S + LATE_S
            while slow.count_open() and time.monotonic() < deadline:
                headers = {"content-type": "application/x-protobuf"}
                assert http.post("/v1/traces", content=body(sent + 1, 1), headers=headers).status_code == 200
                assert channel.unary_unary(METHOD)(body(sent + 2, 1), timeout=10) == b""
                sent += 2
                time.sleep(0.02)
        slow.stop()
        took = {name: [client.closed_after_s for client in clients] for name, clients in slow.held.items()}
        late = {
            name: Counter(each is None or not TIMEOUT_S - 0.1 <= each <= TIMEOUT_S + LATE_S for each in times)
            for name, times in took.items()
        }
        assert late == {name: {False: EACH} for name in took}, took
        running.wait_until_stored()
        assert running.metric("spans_stored_total") == sent > 20
        assert running.ready() is None
        _wait_for_files(pid, files)


def _client_hello() -> bytes:
    """What a TLS client says first."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname="localhost")
    with contextlib.suppress(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()
