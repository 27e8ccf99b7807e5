"""A service, the ClickHouse server it writes to, clients that send all the while, and what everybody saw of it."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import subprocess
import threading
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote

from monitor.store.client import connect
from tests.tools import clickhouse_server
from tests.tools.faults import Proxy
from tests.tools.ports import free_port
from tests.tools.sending import Client
from tests.tools.service import ROOT, Service, command, environment, spawn, wait_until_ready
from tests.tools.waiting import WAIT_S, wait_until

TOKEN: Final = "a-token-nobody-may-see"
SALT: Final = "a-salt-nobody-may-see"
WRONG_PASSWORD: Final = "not-the:password@2"
SECRETS: Final = (TOKEN, SALT, clickhouse_server.PASSWORD, quote(clickhouse_server.PASSWORD, safe=""),
                  WRONG_PASSWORD, quote(WRONG_PASSWORD, safe=""))  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Readiness:
    """One answer of `/readyz`."""

    status: int
    trouble: str | None


class Watch:
    """Asks for `/metrics` and `/readyz` all the while, from the moment the service is there until `stop`.

    Attributes
    ----------
    metrics : list of mapping
        Each page that came, sums over labels.
    readiness : list of Readiness
    """

    def __init__(self, address: str) -> None:
        self.metrics: list[dict[str, int]] = []
        self.readiness: list[Readiness] = []
        self._address = address
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._repeat, args=(read, every_s), name=f"watch{read.__name__}")
            for read, every_s in ((self._read_metrics, 0.05), (self._read_readiness, 0.2))
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def unbalanced(self) -> list[dict[str, int]]:
        """Pages on which received was not stored + rejected + waiting."""
        return [
            page
            for page in self.metrics
            if page["spans_received_total"]
            != page["spans_stored_total"] + page.get("spans_rejected_total", 0) + page["spans_waiting"]
        ]

    def _repeat(self, read: Callable[[], None], every_s: float) -> None:
        while not self._stop.wait(every_s):
            # Nobody answers while the service is down, and half an answer comes as it goes down.
            with contextlib.suppress(OSError, http.client.HTTPException, json.JSONDecodeError):
                read()

    def _read_metrics(self) -> None:
        self.metrics.append(read_metrics(self._address))

    def _read_readiness(self) -> None:
        self.readiness.append(read_readiness(self._address))


def read_metrics(address: str) -> dict[str, int]:
    """Name without prefix -> value, summed over labels."""
    with urllib.request.urlopen(f"{address}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    found: Counter[str] = Counter()
    for name, value in re.findall(r"^monitor_collector_(\w+)(?:\{[^}]*\})? (\d+)$", text, re.MULTILINE):
        found[name] += int(value)
    return dict(found)


def read_readiness(address: str) -> Readiness:
    try:
        with urllib.request.urlopen(f"{address}/readyz", timeout=15) as answer:
            return Readiness(status=answer.status, trouble=json.load(answer)["trouble"])
    except urllib.error.HTTPError as error:
        return Readiness(status=error.code, trouble=json.load(error)["trouble"])


class Engine:
    """The ClickHouse server of a scene, which keeps its folder and port over restarts."""

    def __init__(self, path: Path) -> None:
        self.server = clickhouse_server.start(path)
        self.password = clickhouse_server.PASSWORD
        self.database = "faults"
        self._read_only = False

    def prepare(self) -> None:
        """As well as new for the next scene, whatever the last one left; the schema stays, because making it takes long."""
        self.server.resume()
        if self.server.process.poll() is not None or self._read_only or self.password != clickhouse_server.PASSWORD:
            self.restart()
        client = connect(self.server.url())
        try:
            client.command(f"CREATE DATABASE IF NOT EXISTS {self.database}")
            for table in ("otel_traces", "otel_traces_trace_id_ts", "inferences"):
                client.command(f"TRUNCATE TABLE IF EXISTS {self.database}.{table}")
        finally:
            client.close()

    def kill(self) -> None:
        self.server.kill()

    def restart(self, *, password: str = clickhouse_server.PASSWORD, read_only: bool = False) -> None:
        """SIGKILL if it still runs, and start on the same folder and port."""
        self.server.kill()
        self.server = clickhouse_server.start(
            self.server.path, self.server.port, password=password, read_only=read_only
        )
        self.password, self._read_only = password, read_only

    def url(self, *, port: int | None = None, password: str = clickhouse_server.PASSWORD) -> str:
        url = self.server.url(self.database, password=password)
        return url.replace(f":{self.server.port}/", f":{port or self.server.port}/")

    def count_by_id(self, table: str, column: str) -> Counter[int]:
        """Span number -> rows, by the trace id that was made from it."""
        client = connect(self.url(password=self.password))
        try:
            rows = client.query(f"SELECT {column}, count() FROM {table} GROUP BY {column}").result_rows
        finally:
            client.close()
        return Counter({int(trace_id, 16): int(count) for trace_id, count in rows})


class Scene:
    """What a test of a fault works with; `finish` says whether all promises were kept."""

    def __init__(self, folder: Path, engine: Engine, *, env: Mapping[str, str], padding: str, proxied: bool) -> None:
        self.engine = engine
        self.proxy = Proxy(engine.server.port) if proxied else None
        self.data = folder / "data"
        self._env = {
            "MONITOR_STORE__URL": engine.url(port=self.proxy.port if self.proxy else None),
            "MONITOR_STORE__QUERY_TIMEOUT_S": "1",
            "MONITOR_COLLECTORS__TOKENS": json.dumps([TOKEN]),
            "MONITOR_COLLECTORS__SEGMENT_AGE_S": "0.4",
            "MONITOR_COLLECTORS__INSERT_TIMEOUT_S": "3",
            "MONITOR_PRIVACY__HASH_USER_IDS": "true",
            "MONITOR_PRIVACY__SALT": SALT,
            **env,
        }
        self._ports = {name: str(free_port()) for name in ("grpc", "http")}
        self._said: list[str] = []
        self.service = self.start_service()
        addresses = self.service.addresses
        self.watch = Watch(addresses["http"])
        self.clients = [
            Client("grpc", addresses, TOKEN, number=0, padding=padding),
            Client("http", addresses, TOKEN, number=1, padding=padding),
        ]

    # --- the service ----------------------------------------------------------------------------------------------

    def start_service(self, **env: str) -> Service:
        """Start it, on the same folder and ports each time."""
        self.service = wait_until_ready(self.spawn_service(**env), self.data)
        return self.service

    def spawn_service(self, **env: str) -> subprocess.Popen[str]:
        ports = [text for name, port in self._ports.items() for text in (f"--{name}-port", port)]
        return spawn(self.data, *ports, "--no-dashboard", env={**self._env, **env})

    def metric(self, name: str) -> int:
        """A number of `/metrics`, over all labels."""
        return read_metrics(self.service.addresses["http"])[name]

    def check(self, **env: str) -> tuple[int, str]:
        """Exit code of `monitor check`, and what it said."""
        done = subprocess.run(
            command("check", "--data", str(self.data)),
            cwd=ROOT, env=environment({**self._env, **env}), capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        self._said.append(done.stdout + done.stderr)
        return done.returncode, done.stdout + done.stderr

    # --- what happens ---------------------------------------------------------------------------------------------

    def acknowledged(self) -> list[int]:
        return [number for client in self.clients for number in client.acknowledged]

    def wait_for_acknowledged(self, more: int = 200) -> None:
        """Until each client had so many more spans acknowledged."""
        wanted = [len(client.acknowledged) + more for client in self.clients]
        wait_until(
            lambda: all(len(client.acknowledged) >= n for client, n in zip(self.clients, wanted, strict=True)),
            lambda: f"spans are not acknowledged: {[client.answers[-1:] for client in self.clients]}",
        )

    def wait_for_refusals(self, *, with_text: str) -> None:
        """Until each client was refused, in such words, from now on."""
        begun = [len(client.answers) for client in self.clients]

        def refused() -> bool:
            return all(
                any(a.outcome == "refused" and with_text in a.text for a in client.answers[at:])
                for client, at in zip(self.clients, begun, strict=True)
            )

        wait_until(refused, lambda: f"nobody was refused: {[client.answers[-1:] for client in self.clients]}")

    def wait_until_troubled(self, *words: str) -> str:
        """Until `/readyz` says 503 with all of these words; what it said."""
        readiness: list[Readiness] = []

        def troubled() -> bool:
            readiness.append(read_readiness(self.service.addresses["http"]))
            trouble = readiness[-1].trouble
            return readiness[-1].status == 503 and all(word in (trouble or "") for word in words)

        wait_until(troubled, lambda: f"/readyz says {readiness[-1]}, and not {words}")
        return readiness[-1].trouble or ""

    def assert_check_fails(self, *words: str) -> None:
        code, said = self.check()
        assert code == 1, said
        failed = "\n".join(line for line in said.splitlines() if line.startswith("FAIL"))
        assert all(word in failed for word in words), f"not {words} in: {said}"

    def wait_until_ready(self) -> None:
        """Until `/readyz` says 200; nobody lends a hand."""
        readiness: list[Readiness] = []

        def ready() -> bool:
            readiness.append(read_readiness(self.service.addresses["http"]))
            return readiness[-1] == Readiness(status=200, trouble=None)

        wait_until(ready, lambda: f"/readyz still says {readiness[-1]}")

    # --- the end --------------------------------------------------------------------------------------------------

    def finish(self) -> None:
        """Stop the clients, and hold what is stored against what was acknowledged."""
        for client in self.clients:
            client.stop()
        self.service.wait_until_stored(WAIT_S)
        self.wait_until_ready()
        self.watch.stop()
        if self._said:  # it told of the fault, so it must tell of the end of it
            _, said = self.check()
            failed = [line for line in said.splitlines() if line.startswith("FAIL") and "GiB free" not in line]
            assert not failed, said
        assert self.watch.metrics, "the numbers were never seen"
        assert not self.watch.unbalanced(), self.watch.unbalanced()[:3]
        wrong = [answer for client in self.clients for answer in client.answers if answer.outcome == "wrong"]
        assert not wrong, wrong[:3]
        acknowledged = Counter(self.acknowledged())
        unsure = sum((client.unsure for client in self.clients), Counter[int]())
        assert len(acknowledged) > 500, "the load must have been real"
        raw = self.engine.count_by_id("otel_traces", "TraceId")
        facts = self.engine.count_by_id("inferences FINAL", "trace_id")
        lost = [number for number in acknowledged if not raw[number] or not facts[number]]
        assert not lost, f"{len(lost)} of {len(acknowledged)} acknowledged spans are lost, such as {lost[:3]}"
        doubled = [number for number, count in raw.items() if count > 1 + unsure[number]]
        assert not doubled, f"{len(doubled)} of {len(raw)} spans are stored twice, such as {doubled[:3]}"
        assert set(facts.values()) == {1}, "a call must count once"
        assert set(raw) == set(facts) == set(acknowledged), "what was never acknowledged is stored"
        assert self.service.stop() == 0
        self.assert_no_secret_was_said()

    def assert_no_secret_was_said(self) -> None:
        log = (self.data.parent / f"{self.data.name}.log").read_text()
        said = {
            "the log": log,
            "/readyz": json.dumps([readiness.trouble for readiness in self.watch.readiness]),
            "`monitor check`": "".join(self._said),
            "answers": json.dumps([answer.text for client in self.clients for answer in client.answers]),
        }
        for place, text in said.items():
            for secret in SECRETS:
                assert secret not in text, f"{place} says `{secret}`: …{text[max(0, text.find(secret) - 300) :][:600]}"
        assert "Traceback" not in log, log[log.find("Traceback") - 500 :][:3000]

    def close(self) -> None:
        if self.service.process.poll() is None:
            self.service.kill()
        self.watch.stop()
        for client in self.clients:
            client.abandon()
        if self.proxy is not None:
            self.proxy.close()


@contextlib.contextmanager
def scene(
    folder: Path, engine: Engine, *, proxied: bool = False, padding: str = "", env: Mapping[str, str] | None = None
) -> Iterator[Scene]:
    """A running scene with empty tables; its service's data folder is `folder/data`."""
    engine.prepare()
    running = Scene(folder, engine, env=env or {}, padding=padding, proxied=proxied)
    try:
        yield running
    finally:
        running.close()


@contextlib.contextmanager
def running_engine(path: Path) -> Iterator[Engine]:
    engine = Engine(path)
    try:
        yield engine
    finally:
        engine.kill()
