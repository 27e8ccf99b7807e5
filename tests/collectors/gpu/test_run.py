"""The loop, the command, and the way from a GPU to a row."""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from collectors.gpu.run import Collector, Options, Sources, pace, parse_interval
from monitor.errors import BadInput
from monitor.store.client import Client, connect
from monitor.store.migrate import migrate
from tests.collectors.gpu.conftest import MakeStandin, Page
from tests.collectors.gpu.standin import H100, PLAIN, Standin
from tests.collectors.gpu.test_nvml import GPU0, WHOLE
from tests.collectors.receiving import receiving
from tests.conftest import with_database
from tests.tools.service import ROOT, command, environment, running

SELECT = "SELECT *, utilization, memory_total_bytes FROM gpu_samples FINAL ORDER BY timestamp, node, gpu"


def samples(client: Client) -> list[dict[str, Any]]:
    rows = client.query(SELECT).named_results()
    return [{name: value for name, value in row.items() if value not in (None, "", {})} for row in rows]


# What the store holds of `test_nvml.WHOLE`.
ROW = {
    "gpu": GPU0, "gpu_index": 0, "gpu_model": "NVIDIA H100 80GB HBM3", "service": "gpu-collector", "status": "ok",
    "busy": 0.97, "utilization": 0.97, "memory_busy": 0.41, "encoder": 0.03, "decoder": 0.05,
    "memory_used_bytes": 80_000_000_000.0, "memory_limit_bytes": 85_899_345_920.0, "memory_total_bytes": 85_899_345_920.0,
    "power_w": 623.5, "power_limit_w": 700.0, "energy_j": 123_456.789, "temperature_c": 64.0, "memory_temperature_c": 71.0,
    "sm_clock_hz": 1.755e9, "memory_clock_hz": 2.619e9, "throttle_reasons": 4, "ecc_corrected": 2.0, "ecc_uncorrected": 0.0,
    "remapped_rows_corrected": 1.0, "remapped_rows_uncorrected": 0.0, "remap_failure": 0.0, "xid": 0.0,
    "pcie_tx_bytes_per_s": 1.2e6, "pcie_rx_bytes_per_s": 3.4e7, "pcie_replays": 6.0, "io_tx_bytes": 1_024_000.0,
    "io_rx_bytes": 2_048_000.0, "processes": 2.0,
}  # fmt: skip


@pytest.mark.parametrize(
    ("text", "seconds"), [("1s", 1.0), ("500ms", 0.5), ("2m", 120.0), ("3", 3.0), ("0.5s", 0.5), (" 10s ", 10.0)]
)
def test_intervals(text: str, seconds: float) -> None:
    assert parse_interval(text) == seconds


@pytest.mark.parametrize("text", ["", "s", "fast", "-1s", "1h", "0s", "50ms", "61m", "1s 2s"])
def test_intervals_that_are_none(text: str) -> None:
    with pytest.raises(BadInput, match=r"wanted (something like 1s|100ms to 60m)"):
        parse_interval(text)


def test_the_pace_does_not_drift_and_what_is_late_falls_out() -> None:
    stop = threading.Event()
    begins: list[float] = []

    def work() -> None:
        begins.append(time.monotonic())
        if len(begins) == 20:
            stop.set()
        time.sleep(0.13 if len(begins) == 10 else 0.02)

    pace(0.05, stop, work)
    ticks = [(begin - begins[0]) / 0.05 for begin in begins]
    # The tenth took 2.6 intervals: two fell out, and the others stayed where they were.
    wanted = [*range(10), *range(12, 22)]
    assert [tick - want for tick, want in zip(ticks, wanted, strict=True)] == pytest.approx([0.0] * 20, abs=0.9)
    assert all(tick >= want - 0.01 for tick, want in zip(ticks, wanted, strict=True))


def test_a_source_that_is_away_is_said_once_and_tried_more_slowly(
    gpus: MakeStandin, page: Page, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "collectors.gpu")
    made = gpus(H100)
    made.set(init=9)
    page.recorded("two_gpus")
    sources = Sources(page.url, try_again_s=0.3)
    try:
        for _ in range(5):
            assert len(sources.read().readings) == 2  # the other source goes on
        assert len(sources.troubles) == 1
        page.status = 503
        for _ in range(3):
            assert sources.read().readings == ()
        assert page.asked == 6  # five pages, one refusal, then a pause
        made.set(init=0)
        page.status = 200
        time.sleep(0.35)
        assert {reading.gpu for reading in sources.read().readings} >= {GPU0}
        assert sources.troubles == []
    finally:
        sources.close()
    said = [re.sub(r"http\S+", "URL", message) for message in caplog.messages]
    assert said == [
        "no GPU readings by NVML, trying again every 0.3 s: the NVIDIA driver is installed but not loaded; see `nvidia-smi`",
        "reading 2 GPUs by DCGM",
        "no GPU readings by DCGM, trying again every 0.3 s: the DCGM exporter at URL answers 503 Service Unavailable; is the path right?",
        "reading 1 GPU by NVML",
        "reading 2 GPUs by DCGM",
    ]


def test_a_page_that_hangs_costs_nvml_no_turn(
    gpus: MakeStandin, page: Page, store_client: Client, backend_url: str, tmp_path: Path
) -> None:
    gpus(H100)
    page.release.clear()
    with receiving(tmp_path / "data", with_backend(backend_url, store_client), segment_age_s=0.05) as to:
        collector = Collector(Options(endpoint=to.grpc, interval_s=0.5, dcgm=page.url, node="gpu-7"))
        stop = threading.Event()
        thread = threading.Thread(target=collector.run, args=(stop,))
        thread.start()
        time.sleep(2.2)
        stop.set()
        thread.join()
        assert 3 <= collector.sent.accepted <= 5


def with_backend(url: str, client: Client) -> str:
    """Address of the test's own database."""
    return url if url.startswith("chdb:") else with_database(url, str(client.database))


def test_from_a_gpu_to_a_row(gpus: MakeStandin, clickhouse_url: str, tmp_path: Path) -> None:
    """Both transports, over the network and the write-ahead log, into a real server: every value of every sample."""
    name = f"gpu_{os.getpid()}_{time.monotonic_ns()}"
    admin = connect(clickhouse_url, database="default")
    admin.command(f"CREATE DATABASE {name}")
    client = connect(clickhouse_url, database=name)
    try:
        migrate(client)
        made = gpus(H100)
        with receiving(tmp_path / "data", with_database(clickhouse_url, name), tokens=("secret",)) as to:
            for endpoint in (to.grpc, to.http):
                protocol = "http" if endpoint == to.http else "grpc"
                options = Options(endpoint=endpoint, protocol=protocol, token="secret", interval_s=0.2, node=protocol)
                collector = Collector(options)
                stop = threading.Event()
                thread = threading.Thread(target=collector.run, args=(stop,))
                thread.start()
                deadline = time.monotonic() + 20
                while collector.sent.accepted < 3:
                    assert time.monotonic() < deadline, collector.sent
                    time.sleep(0.02)
                if endpoint == to.http:
                    made.set(event1="0 79")
                    while not samples_with(client, "mapContains(xid_errors, '79')"):
                        assert time.monotonic() < deadline
                        time.sleep(0.1)
                stop.set()
                thread.join()
                assert collector.sent.taken == collector.sent.accepted
        found = samples(client)
        assert {row["node"] for row in found} == {"grpc", "http"}
        for row in found:
            del row["timestamp"]
            node = row.pop("node")
            struck = node == "http" and row["xid"] == 79.0
            assert row == (ROW | {"xid": 79.0, "xid_errors": {"79": 1.0}} if struck else ROW)
        assert found[-1]["xid"] == 79.0
    finally:
        client.close()
        admin.command(f"DROP DATABASE {name}")
        admin.close()


def samples_with(client: Client, condition: str) -> int:
    return int(str(client.command(f"SELECT count() FROM gpu_samples FINAL WHERE {condition}")))


@pytest.fixture
def node(make_standin: MakeStandin) -> Standin:
    return make_standin(H100 + PLAIN)


def gpu_command(*arguments: str, env: dict[str, str], cwd: Path, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        command("gpu", *arguments), cwd=cwd, env={**environment(env), "PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
        timeout=60,
    )  # fmt: skip
    assert done.returncode == code, f"{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr
    return done


def test_once_as_json(node: Standin, nvml_library: Path, tmp_path: Path) -> None:
    done = gpu_command("--once", "--json", "--node", "gpu-7", env=node.environment(nvml_library), cwd=tmp_path)
    values = json.loads(done.stdout)
    assert values["gpus"][0] == json.loads(json.dumps(WHOLE.known()))
    assert (values["node"], len(values["gpus"]), values["troubles"]) == ("gpu-7", 2, [])
    assert abs(values["time_unix_ns"] / 1e9 - time.time()) < 60


def test_once_with_a_page_and_without_a_driver(page: Page, tmp_path: Path) -> None:
    page.recorded("mig_kubernetes")
    done = gpu_command("--once", "--json", "--dcgm", page.url, env={}, cwd=tmp_path)
    values = json.loads(done.stdout)
    assert len(values["gpus"]) == 3
    assert values["troubles"] == ["this node has no NVIDIA driver (libnvidia-ml.so.1 is not there)"]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--once", "--json"), 1, "monitor: no GPU can be read: this node has no NVIDIA driver"),
        (("--once",), 1, "monitor: no GPU can be read: this node has no NVIDIA driver"),
        (("--interval", "5x"), 1, "monitor: `5x` is no interval"),
        (("--dcgm", "ftp://x"), 1, "monitor: `ftp://x` is not the address of a DCGM exporter"),
        (("--endpoint", "here"), 1, "monitor: Endpoint 'here' is not an address"),
        (("--json",), 2, "give --once with it"),
        (("--protocol", "udp"), 2, "wanted grpc or http"),
    ],
)
def test_failures_are_one_sentence(tmp_path: Path, arguments: tuple[str, ...], code: int, said: str) -> None:
    done = gpu_command(*arguments, env={}, cwd=tmp_path, code=code)
    assert said in " ".join(done.stderr.replace("│", " ").split())
    if code == 1:
        assert len(done.stderr.strip().splitlines()) == 1


def test_a_receiver_that_is_not_there(node: Standin, nvml_library: Path, tmp_path: Path) -> None:
    arguments = ("--once", "--endpoint", "http://127.0.0.1:9", "--protocol", "http")
    done = gpu_command(*arguments, env=node.environment(nvml_library), cwd=tmp_path, code=1)
    assert "http://127.0.0.1:9 did not take the readings" in done.stderr


def test_the_command_needs_nothing_of_the_service() -> None:
    """A GPU node installs the package with its extra `gpu`; what the service needs is not there."""
    code = (
        "import sys\n"
        "for name in ('clickhouse_connect', 'chdb', 'pydantic_settings', 'yaml', 'starlette', 'uvicorn', 'pandas',"
        " 'numpy', 'scipy', 'sklearn', 'streamlit', 'apscheduler', 'grpc_status', 'lz4', 'zstandard'):\n"
        "    sys.modules[name] = None\n"
        "from monitor.cli import main\n"
        "sys.argv = ['monitor', 'gpu', '--once', '--json']\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment(), capture_output=True, text=True, check=False
    )
    assert (
        done.stderr == "monitor: no GPU can be read: this node has no NVIDIA driver (libnvidia-ml.so.1 is not there)\n"
    )


def test_the_service_reads_its_own_gpus_and_a_node_beside_it_sends(
    node: Standin, nvml_library: Path, tmp_path: Path
) -> None:
    env = node.environment(nvml_library)
    settings = {"MONITOR_GPU__ENABLED": "true", "MONITOR_GPU__INTERVAL_S": "0.2", "MONITOR_GPU__NODE": "own",
                "MONITOR_COLLECTORS__TOKENS": '["hunter2"]', "MONITOR_COLLECTORS__SEGMENT_AGE_S": "0.05"}  # fmt: skip
    with running(tmp_path / "data", env={**env, **settings}) as service:
        arguments = (
            "gpu",
            "--endpoint",
            service.addresses["grpc"],
            "--interval",
            "200ms",
            "--node",
            "beside",
            "--dcgm",
            "127.0.0.1:9",
        )
        with (tmp_path / "beside.log").open("w") as log:
            beside = subprocess.Popen(
                command(*arguments), cwd=ROOT, env=environment({**env, "INGEST_TOKEN": "hunter2"}), stderr=log, stdout=subprocess.PIPE, text=True,
            )  # fmt: skip
        client = connect(service.addresses["clickhouse"])
        deadline = time.monotonic() + 30
        while (
            client.command(
                "SELECT count() FROM (SELECT node, gpu FROM gpu_samples FINAL GROUP BY node, gpu HAVING count() >= 3)"
            )
            != 4
        ):
            assert time.monotonic() < deadline, samples(client)
            time.sleep(0.1)
        client.close()
        beside.send_signal(signal.SIGTERM)
        said, _ = beside.communicate(timeout=20)
        assert re.fullmatch(r"sent \d+ samples; 0 dropped, 0 refused, 0 not sent\n", said), said
        assert (tmp_path / "beside.log").read_text().count("no GPU readings by DCGM") == 1
        assert service.stop() == 0
    log_of_service = (tmp_path / "data.log").read_text()
    assert "reading 2 GPUs by NVML" in log_of_service
    assert "not sent" not in log_of_service


def test_settings_that_are_no_address_stop_the_service(tmp_path: Path) -> None:
    ports = [word for name in ("grpc", "http", "clickhouse") for word in (f"--{name}-port", "0")]
    env = {"MONITOR_GPU__ENABLED": "true", "MONITOR_GPU__DCGM_URL": "ftp://x"}
    done = subprocess.run(
        command("up", "--data", str(tmp_path / "data"), "--no-dashboard", *ports), cwd=ROOT, env=environment(env),
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 1
    assert "`ftp://x` is not the address of a DCGM exporter" in done.stderr
