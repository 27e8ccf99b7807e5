"""Every family of KPIs, from a real service that was sent a published run with labels, feedback, moderation and GPU samples.

Each number is computed a second time from the raw file of the run, by numpy, scipy and scikit-learn alone.
"""

from __future__ import annotations

import gzip
import json
import math
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
from scipy import stats

from collectors.gpu.metrics import Starts, request, resource
from collectors.gpu.readings import Reading, Sample
from collectors.transport import open_transport
from monitor.stats.intervals import wilson
from tests.tools.service import ROOT, Service, command, environment, running

RUN = ROOT / "tests" / "data" / "vllm-llama33-70b-serving" / "tp8_pp1_sharegpt_qps_01.json.gz"
NODE = "gpu-1"
TTFT_S, E2E_S, RATE, GPUS = 0.06, 6.0, 36.0, 8
CONFIG = f"""
objectives:
  - {{name: first-token, kind: latency, latency: ttft, threshold_s: {TTFT_S}, target: 0.5, period: 7d}}
  - {{name: whole, kind: latency, latency: e2e, threshold_s: {E2E_S}, target: 0.5}}
prices:
  own:
    - {{model: 'meta-llama/*', input: 0.5, output: 2.0}}
fleet:
  - {{nodes: [{NODE}], kind: on_demand, rate: {RATE}, gpus: {GPUS}, billed: always}}
budgets:
  - {{name: all, amount: 1000000}}
jobs:
  off: [rollup, kpis, accuracy, cost, objectives, drift, bias]
"""


@dataclass
class Place:
    """A service and the raw run, in the order of its rows in the store."""

    service: Service
    config: Path
    ttft: np.ndarray[Any, Any]
    e2e: np.ndarray[Any, Any]
    input_tokens: np.ndarray[Any, Any]
    output_tokens: np.ndarray[Any, Any]
    traces: list[str]

    def run(self, *arguments: str) -> str:
        done = subprocess.run(
            command(*arguments), env=environment(), capture_output=True, text=True, timeout=180, cwd=self.config.parent
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def read(self, *arguments: str) -> Any:
        return json.loads(self.run(*arguments, "--data", str(self.service.data), "--config", str(self.config)))

    def kpis(self, *names: str, since: str = "3h", **options: str) -> dict[str, dict[str, Any]]:
        asked = [part for key, value in options.items() for part in (f"--{key}", value)]
        return {each["name"]: each for each in self.read("kpi", *names, "--since", since, "--json", *asked)}

    def post(self, path: str, items: list[dict[str, Any]]) -> None:
        answer = httpx2.post(f"{self.service.addresses['http']}{path}", json=items, timeout=30)
        assert answer.status_code == 200, answer.text


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("families")
    config = folder / "monitor.yaml"
    config.write_text(CONFIG, encoding="utf-8")
    raw = json.loads(gzip.decompress(RUN.read_bytes()))
    with running(folder / "data", "--config", str(config)) as service:
        ttft = np.array(raw["ttfts"])
        found = Place(
            service=service,
            config=config,
            ttft=ttft,
            e2e=ttft + np.array([sum(gaps) for gaps in raw["itls"]]),
            input_tokens=np.array(raw["input_lens"]),
            output_tokens=np.array(raw["output_lens"]),
            traces=[],
        )
        found.run(
            "replay",
            str(RUN),
            "--endpoint",
            service.addresses["grpc"],
            "--node",
            NODE,
            "--service",
            "chat",
            "--no-parents",
        )
        service.wait_until_stored()
        rows = found.read(
            "query",
            "SELECT trace_id, input_tokens, output_tokens FROM inferences FINAL ORDER BY timestamp",
            "--format",
            "JSON",
        )["data"]
        assert [int(row["input_tokens"]) for row in rows] == raw["input_lens"], "rows are in the order of the file"
        found.traces = [row["trace_id"] for row in rows]
        send_judgements(found)
        send_gpu_samples(found)
        wait_for_the_rest(found)
        for job in ("rollup", "objectives", "cost"):
            found.run("jobs", "run", job, "--data", str(service.data), "--config", str(config))
        yield found


def right(place: Place) -> np.ndarray[Any, Any]:
    """Who is right, by a rule over the raw file that a reader can follow: answers with an even number of tokens."""
    return place.output_tokens % 2 == 0


def labelled(place: Place) -> np.ndarray[Any, Any]:
    return np.arange(len(place.traces)) % 3 == 0


def verdict(place: Place) -> np.ndarray[Any, Any]:
    """A judge that is wrong on every tenth answer."""
    return right(place) ^ (np.arange(len(place.traces)) % 10 == 0)


def thumbs(place: Place) -> np.ndarray[Any, Any]:
    """1 up, -1 down, 0 nothing."""
    numbers = np.arange(len(place.traces))
    return np.where(numbers % 4 == 0, np.where(numbers % 8 == 0, 1, -1), 0)


def send_judgements(place: Place) -> None:
    """Labels from a file, the judge's and the moderation's evaluations and feedback as plain JSON."""
    labels = place.config.parent / "labels.csv"
    lines = [
        f"{trace},{'yes' if good else 'no'}"
        for trace, good, chosen in zip(place.traces, right(place), labelled(place), strict=True)
        if chosen
    ]
    labels.write_text("\n".join(["trace_id,label", *lines]) + "\n", encoding="utf-8")
    said = place.run("label", str(labels), "--endpoint", place.service.addresses["grpc"], "--evaluator", "ann")
    assert f"sent {len(lines)} labels" in said
    judged = [
        {"trace_id": trace, "name": "correct", "score": float(good), "source": "judge", "evaluator": "j"}
        for trace, good in zip(place.traces, verdict(place), strict=True)
    ]
    moderated = [
        {"trace_id": trace, "name": "toxicity", "label": "flagged" if i % 20 == 0 else "passed", "source": "moderation"}
        for i, trace in enumerate(place.traces)
    ]
    helpful = [
        {"trace_id": trace, "name": "helpful", "score": i % 5, "source": "user"} for i, trace in enumerate(place.traces)
    ]
    place.post("/api/evaluations", [*judged, *moderated, *helpful])
    given = [
        {"trace_id": trace, "thumbs": "up" if thumb > 0 else "down"}
        for trace, thumb in zip(place.traces, thumbs(place), strict=True)
        if thumb
    ]
    copied = [{"trace_id": trace, "kind": "copy"} for trace in place.traces[::5]]
    again = [{"trace_id": trace, "kind": "regenerate"} for trace in place.traces[::25]]
    place.post("/api/feedback", [*given, *copied, *again])


def send_gpu_samples(place: Place) -> None:
    """Ten minutes of one node: eight GPUs that draw 400 W each and are busy half of the time."""
    transport = open_transport(place.service.addresses["grpc"], "grpc", signal="metrics")
    starts, now_ns = Starts(), time.time_ns()
    for second in range(-600, 0, 10):
        readings = tuple(
            Reading(
                gpu=f"GPU-{number}", index=number, model="H100", busy=0.5, memory_used_bytes=60e9, memory_limit_bytes=80e9,
                power_w=400.0,
            )
            for number in range(GPUS)
        )  # fmt: skip
        sample = Sample(time_ns=now_ns + second * 10**9, readings=readings)
        answer = transport.export(request(sample, resource(NODE), starts).SerializeToString(), 20)
        assert answer.verdict == "accepted", answer.reason
    transport.close()


def wait_for_the_rest(place: Place) -> None:
    """Judgements and samples are in the log until their segments are inserted."""
    wanted = {
        "evaluations": 3 * 200 + int(labelled(place).sum()),
        "engagement_events": 50 + 40 + 8,
        "gpu_samples": 60 * GPUS,
    }
    deadline = time.monotonic() + 60
    while True:
        counts = {
            table: int(
                place.read("query", f"SELECT count() AS n FROM {table} FINAL", "--format", "JSON")["data"][0]["n"]
            )
            for table in wanted
        }
        if counts == wanted:
            return
        assert time.monotonic() < deadline, f"{counts} of {wanted}"
        time.sleep(0.3)


def share(found: dict[str, Any], hits: float, n: int) -> None:
    """A share with Wilson's interval."""
    assert found["n"] == n, found
    assert found["value"] == pytest.approx(hits / n), found
    assert (found["low"], found["high"]) == pytest.approx(wilson(hits, n), rel=1e-6), found


def test_traffic_and_latency(place: Place) -> None:
    found = place.kpis("traffic", "latency")
    assert found["traffic.requests"]["value"] == 200
    assert found["traffic.input_tokens"]["value"] == place.input_tokens.sum()
    assert found["traffic.output_tokens"]["value"] == place.output_tokens.sum()
    assert found["latency.ttft.p95"]["value"] == pytest.approx(np.quantile(place.ttft, 0.95), rel=1e-6)
    assert found["latency.e2e.mean"]["value"] == pytest.approx(place.e2e.mean(), rel=1e-6)
    for value in found.values():
        assert value["value"] is not None or value["note"], value
        assert value["unit"]


def test_objectives_and_goodput(place: Place) -> None:
    found = place.kpis("objective")
    fast, whole = place.ttft <= TTFT_S, place.e2e <= E2E_S
    share(found["objective.first-token.attainment"], fast.sum(), 200)
    share(found["objective.whole.attainment"], whole.sum(), 200)
    assert found["objective.first-token.burn_rate"]["value"] == pytest.approx((1 - fast.mean()) / 0.5)
    assert found["objective.first-token.error_budget"]["value"] == pytest.approx(1 - (1 - fast.mean()) / 0.5)
    share(found["objective.goodput"], (fast & whole).sum(), 200)
    assert found["objective.goodput_per_gpu_hour"]["value"] > 0


def test_accuracy(place: Place) -> None:
    found = place.kpis("accuracy")
    chosen, good, said = labelled(place), right(place), verdict(place)
    share(found["accuracy.correct"], good[chosen].sum(), int(chosen.sum()))
    share(found["accuracy.judge_agreement"], (good == said)[chosen].sum(), int(chosen.sum()))
    estimated = found["accuracy.estimated"]
    # With one λ for the whole hour: the difference of labels and verdicts, and the verdicts of the rest.
    y, f, rest = good[chosen].astype(float), said[chosen].astype(float), said[~chosen].astype(float)
    candidates = [(y - power * f).mean() + power * rest.mean() for power in np.linspace(0, 1, 1001)]
    assert min(candidates) - 0.02 <= estimated["value"] <= max(candidates) + 0.02
    assert estimated["low"] < good.mean() < estimated["high"]
    assert estimated["high"] - estimated["low"] < np.subtract(*reversed(wilson(y.sum(), len(y))))
    scores = np.arange(200) % 5
    helpful = found["accuracy.score.helpful"]
    assert (helpful["value"], helpful["n"]) == (pytest.approx(scores.mean()), 200)
    half = stats.t.ppf(0.975, 199) * scores.std(ddof=1) / math.sqrt(200)
    assert helpful["high"] - helpful["value"] == pytest.approx(half, rel=1e-6)


def test_safety(place: Place) -> None:
    found = place.kpis("safety")
    share(found["safety.flagged_rate"], 10, 200)
    share(found["safety.blocked_rate"], 0, 200)


def test_engagement(place: Place) -> None:
    found = place.kpis("engagement")
    given = thumbs(place)
    share(found["engagement.thumbs_up"], (given > 0).sum(), int((given != 0).sum()))
    share(found["engagement.feedback_rate"], (given != 0).sum(), 200)
    share(found["engagement.copy_rate"], 40, 200)
    share(found["engagement.regenerate_rate"], 8, 200)


def test_fleet(place: Place) -> None:
    found = place.kpis("fleet")
    assert found["fleet.gpu_utilization"]["value"] == pytest.approx(0.5)
    assert found["fleet.gpu_memory"]["value"] == pytest.approx(0.75)
    assert found["fleet.power"]["value"] == pytest.approx(400)
    # Ten seconds between samples: 590 s of eight GPUs, over all output tokens and all calls.
    energy_j = 400 * GPUS * 590
    assert found["fleet.energy_per_token"]["value"] == pytest.approx(energy_j / place.output_tokens.sum(), rel=0.02)
    assert found["fleet.energy_per_request"]["value"] == pytest.approx(energy_j / 200, rel=0.02)


def test_costs(place: Place) -> None:
    """The node has a rate, so its calls share its minutes; what nobody used is idle, and both add up to the rate."""

    def one(sql: str) -> dict[str, Any]:
        row: dict[str, Any] = place.read("query", sql, "--format", "JSON")["data"][0]
        return {name: float(value) for name, value in row.items()}

    found = place.kpis("cost", since="24h")
    # The hour that is not over yet has as many minutes as have passed.
    ledger = one(
        "SELECT sum(cost) / 1e9 AS cost, sum(idle) / 1e9 AS idle, sum(minutes) AS minutes FROM node_hours FINAL"
    )
    paid = RATE * ledger["minutes"] / 60
    assert ledger["minutes"] > 0
    assert ledger["cost"] == pytest.approx(paid, rel=1e-6)
    shares = one("SELECT sum(cost) / 1e9 AS shared, count(cost) AS calls FROM call_costs FINAL")
    assert shares["calls"] == 200
    assert shares["shared"] + ledger["idle"] == pytest.approx(paid, abs=0.01), "balanced to the cent"
    assert found["cost.total"]["value"] == pytest.approx(paid, rel=0.05)
    assert found["cost.per_request"]["value"] == pytest.approx(found["cost.total"]["value"] / shares["calls"], rel=1e-6)
    assert found["cost.unpriced"]["value"] == 0
    assert found["cost.gpu_hour"]["value"] == pytest.approx(RATE / GPUS, rel=1e-6)
    assert 0 < found["cost.idle_share"]["value"] < 1


def test_each_family_says_its_value_its_unit_and_its_n(place: Place) -> None:
    found = place.kpis(since="24h")
    families = {name.partition(".")[0] for name in found}
    assert families == {
        "traffic",
        "latency",
        "objective",
        "accuracy",
        "cost",
        "engagement",
        "safety",
        "fleet",
        "drift",
        "bias",
        "probes",
    }
    for name, value in found.items():
        assert value["value"] is not None or value["note"], f"{name} has neither a value nor a reason"
        assert value["n"] > 0 or value["note"] or value["value"] == 0, name
