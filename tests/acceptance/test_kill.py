"""`kill -9` of the service during a replay at full speed, at random moments: what was acknowledged is there, once."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from collectors.simulate.replay import NoReceiver, replay
from collectors.simulate.send import ReplayFailed
from collectors.simulate.workload import azure_trace
from monitor.store.client import connect
from tests.conftest import with_database
from tests.tools.service import Service, spawn, wait_until_ready

ID_BYTES = 24  # trace id and span id
MOMENTS = {"chdb": 20, "clickhouse": 6}
Ids = npt.NDArray[np.void]


class Load:
    """Replays the trace over and over, and remembers which spans were acknowledged."""

    def __init__(self, endpoint: str) -> None:
        self.acknowledged: list[bytes] = []
        self._endpoint = endpoint
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        trace = azure_trace()
        while not self._stop.is_set():
            try:
                replay(
                    trace,
                    endpoint=self._endpoint,
                    with_parents=False,  # one span a call
                    on_acknowledged=lambda batch: self.acknowledged.append(b"".join(batch.call_ids)),
                    patience_s=0.2,
                    stop=self._stop,
                )
            except (ReplayFailed, NoReceiver):
                return

    def wait_for_traffic(self) -> None:
        deadline = time.monotonic() + 30
        while not self.acknowledged:
            assert time.monotonic() < deadline, "nothing was acknowledged"
            time.sleep(0.002)

    def stop(self) -> bytes:
        self._stop.set()
        self._thread.join()
        return b"".join(self.acknowledged)


def _ids(data: bytes) -> Ids:
    return np.frombuffer(data, dtype=f"V{ID_BYTES}")


def _stored_ids(url: str, table: str, trace: str, span: str) -> Ids:
    client = connect(url)
    try:
        sql = f"SELECT CAST(concat(unhex({trace}), unhex({span})) AS FixedString({ID_BYTES})) FROM {table}"
        return _ids(bytes(client.raw_query(sql, fmt="RowBinary")))
    finally:
        client.close()


@pytest.fixture(params=list(MOMENTS))
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """Which backend, and the environment that points the service at it."""
    if request.param == "chdb":
        yield request.param, {}
        return
    url = with_database(request.getfixturevalue("clickhouse_url"), f"kill_{time.time_ns()}")
    yield request.param, {"MONITOR_STORE__URL": url}


@pytest.mark.timeout(300)
def test_acknowledged_spans_survive_kill_9_exactly_once(place: tuple[str, dict[str, str]], tmp_path: Path) -> None:
    backend, environment = place
    chance = random.Random(20_231_116)
    data = tmp_path / "data"
    acknowledged = []
    recovered = 0

    def start() -> Service:
        return wait_until_ready(spawn(data, "--no-dashboard", env=environment), data)

    for moment in range(MOMENTS[backend]):
        if moment % 5 == 4:
            # In the middle of starting, which includes recovery.
            process = spawn(data, "--no-dashboard", env=environment)
            time.sleep(chance.uniform(0.3, 2.0))
            process.kill()
            process.wait()
            continue
        service = start()
        recovered += service.metric("spans_recovered_total")
        load = Load(service.addresses["grpc"])
        load.wait_for_traffic()
        time.sleep(chance.uniform(0.0, 1.2))
        service.kill()
        acknowledged.append(load.stop())

    service = start()
    try:
        recovered += service.metric("spans_recovered_total")
        service.wait_until_stored()
        reading = environment.get("MONITOR_STORE__URL") or service.addresses["clickhouse"]
        raw = _stored_ids(reading, "otel_traces", "TraceId", "SpanId")
        facts = _stored_ids(reading, "inferences", "trace_id", "span_id")
    finally:
        service.stop()

    wanted = _ids(b"".join(acknowledged))
    assert len(wanted) > 10_000, "the load must have been real"
    assert recovered > 0, "no moment hit a span that was acknowledged and not stored yet: nothing was tested"
    for name, stored in (("otel_traces", raw), ("inferences", facts)):
        unique = np.unique(stored)
        assert len(unique) == len(stored), f"{len(stored) - len(unique)} spans are in {name} more than once"
        missing = ~np.isin(wanted, unique)
        assert not missing.any(), f"{missing.sum()} of {len(wanted)} acknowledged spans are not in {name}"
