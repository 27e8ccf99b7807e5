"""What the workloads' publishers computed, computed again from what went over the wire."""

from __future__ import annotations

import gzip
import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import with_database
from tests.tools.service import ROOT, Service, command, environment, running

VLLM = ROOT / "tests" / "data" / "vllm-llama33-70b-serving" / "tp8_pp1_sharegpt_qps_01.json.gz"
AZURE = ROOT / "collectors" / "simulate" / "data" / "azure-llm-2023-conv.csv.gz"


@pytest.fixture(params=["chdb", "clickhouse"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Service, dict[str, str]]]:
    env = {}
    if request.param == "clickhouse":
        url = with_database(request.getfixturevalue("clickhouse_url"), f"published_{time.time_ns()}")
        env = {"MONITOR_STORE__URL": url}
    with running(tmp_path / "data", env=env) as service:
        yield service, env


def test_published_figures(place: tuple[Service, dict[str, str]]) -> None:
    service, env = place

    def run(*arguments: str) -> str:
        done = subprocess.run(command(*arguments), env=environment(env), capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def kpis(where: str) -> dict[str, dict[str, float]]:
        text = run("kpi", "--json", "--since", "3h", "--where", where, "--data", str(service.data))
        return {value["name"]: value for value in json.loads(text)}

    for file, name in ((VLLM, "vllm-run"), (AZURE, "azure")):
        said = run("replay", str(file), "--endpoint", service.addresses["grpc"], "--service", name, "--speed", "max")
        assert " 0 rejected, 0 without an answer" in said
    service.wait_until_stored()
    published = json.loads(gzip.decompress(VLLM.read_bytes()))
    found = kpis("service=vllm-run")
    for kpi in ("ttft", "tpot"):
        for ours, theirs in (("mean", "mean"), ("p50", "median"), ("p99", "p99")):
            wanted = published[f"{theirs}_{kpi}_ms"] / 1000
            assert found[f"latency.{kpi}.{ours}"]["value"] == pytest.approx(wanted, rel=1e-3)
    assert (found["latency.ttft.mean"]["n"], found["latency.tpot.mean"]["n"]) == (200, 186)
    azure = kpis("service=azure")
    assert azure["traffic.requests"]["value"] == 19_366
    assert azure["traffic.input_tokens"]["value"] == 22_361_870
    assert azure["traffic.output_tokens"]["value"] == 4_088_665
