"""A service whose store has facts of every family: the demo's hour, earlier users, labels, feedback, moderation, GPUs, costs."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from collectors.gpu.metrics import Starts, request, resource
from collectors.gpu.readings import Reading, Sample
from collectors.simulate.history import load_history
from collectors.transport import open_transport
from monitor.serve.jobs import run_job
from monitor.settings import load_settings
from monitor.store.client import connect
from tests.tools.service import Service

NODES = ("gpu-1", "gpu-2", "gpu-3")
CONFIG = """
objectives:
  - {name: first-token, kind: latency, latency: ttft, threshold_s: 1.0, target: 0.95, period: 7d}
  - {name: answered, kind: error, target: 0.99}
prices:
  own:
    - {model: 'llama-*', input: 0.5, output: 2.0}
fleet:
  - {nodes: [gpu-1, gpu-2, gpu-3], kind: on_demand, rate: 12.0, gpus: 4, billed: always}
budgets:
  - {name: all, amount: 300}
drift: {reference: previous, lateness: 1s, features: [output_tokens, ttft, finish_reason, variant]}
cohorts: {windows: [24h], every: 10m, lateness: 1s, outcomes: [error, refusal, latency]}
"""
JOBS = ("rollup", "objectives", "cost", "kpis", "drift", "bias")
JUDGED = 3_000


def fill(service: Service, config: Path) -> None:
    """Send it all, wait until it is stored, and run the jobs that pages read results of."""
    send_earlier_calls(service)
    load_history(endpoint=service.addresses["grpc"])
    service.wait_until_stored()
    rows = newest(service)
    send_judgements(service, rows)
    send_gpu_samples(service)
    wait_for_the_rest(service)
    settings = load_settings(config, service.data)
    for job in JOBS:
        # The service has the store, and is asked to run it: as `monitor jobs run` does, without a process for each.
        done = run_job(settings, job)
        assert done["state"] == "ok", done


def send_earlier_calls(service: Service) -> None:
    """Users of the days before, some of whom came back; and an hour before the demo's, to compare with."""
    now_ns, day_ns, hour_ns = time.time_ns(), 86_400 * 10**9, 3600 * 10**9
    days = [(now_ns - 2 * day_ns, range(40)), (now_ns - day_ns, range(12))]
    moments = [(start + user * 10**9, f"early-{user}") for start, users in days for user in users]
    moments += [(now_ns - 2 * hour_ns + number * 10 * 10**9, f"user-{number % 50:03}") for number in range(300)]
    # Whatever the minute, drift has a reference: calls before the last whole hour.
    moments += [(now_ns - 3 * hour_ns + number * 10 * 10**9, f"user-{number % 50:03}") for number in range(150)]
    request = ExportTraceServiceRequest()
    batch = request.resource_spans.add()
    for key, value in {"service.name": "chat-api", "monitor.node": "gpu-1"}.items():
        batch.resource.attributes.add(key=key).value.string_value = value
    spans = batch.scope_spans.add().spans
    for number, (start_ns, user) in enumerate(moments):
        span = spans.add(name="chat", trace_id=(0xEA << 120 | number).to_bytes(16), span_id=(number + 1).to_bytes(8))
        span.start_time_unix_nano, span.end_time_unix_nano = start_ns, start_ns + 4 * 10**9
        texts = {
            "gen_ai.operation.name": "chat", "gen_ai.request.model": "llama-3.3-70b-instruct", "user.id": user,
            "session.id": f"{user}-{start_ns // hour_ns}",
        }  # fmt: skip
        for key, value in texts.items():
            span.attributes.add(key=key).value.string_value = value
        span.attributes.add(key="gen_ai.response.time_to_first_chunk").value.double_value = 0.1 + 0.001 * (number % 100)
        for key, tokens in {"gen_ai.usage.input_tokens": 800, "gen_ai.usage.output_tokens": 150}.items():
            span.attributes.add(key=key).value.int_value = tokens
    answer = httpx2.post(
        f"{service.addresses['http']}/v1/traces", content=request.SerializeToString(),
        headers={"Content-Type": "application/x-protobuf"}, timeout=60,
    )  # fmt: skip
    assert answer.status_code == 200, answer.text


def newest(service: Service) -> list[tuple[str, str, str]]:
    """Trace, session and user of the newest calls."""
    client = connect(service.addresses["clickhouse"])
    found = client.query(
        "SELECT trace_id, any(session_id), any(user_id) FROM inferences WHERE error_type = '' GROUP BY trace_id"
        f" ORDER BY max(timestamp) DESC LIMIT {JUDGED}"
    ).result_rows
    client.close()
    return [(str(trace), str(session), str(user)) for trace, session, user in found]


def send_judgements(service: Service, rows: list[tuple[str, str, str]]) -> None:
    rng = np.random.default_rng(7)
    n = len(rows)
    right, agrees, chosen = rng.random(n) < 0.83, rng.random(n) < 0.92, rng.random(n) < 0.15
    traces = [trace for trace, _, _ in rows]
    items: list[dict[str, Any]] = []
    for trace, good, same, labelled, confidence in zip(traces, right, agrees, chosen, rng.beta(6, 2, n), strict=True):
        judged = {
            "trace_id": trace,
            "name": "correct",
            "score": float(good == same),
            "source": "judge",
            "evaluator": "j",
        }
        own = {"trace_id": trace, "name": "confidence", "score": float(confidence), "source": "judge"}
        items += [judged, own]
        if labelled:
            items.append(
                {"trace_id": trace, "name": "correct", "score": float(good), "source": "human", "evaluator": "ann"}
            )
    kinds = rng.choice(["passed", "hate", "violence", "pii.email"], n, p=[0.94, 0.03, 0.02, 0.01])
    for trace, kind in zip(traces, kinds, strict=True):
        label, blocked = ("passed", False) if kind == "passed" else ("flagged", kind == "hate")
        items.append(
            {
                "trace_id": trace, "name": "toxicity" if label == "passed" else str(kind),
                "label": "blocked" if blocked else label, "source": "moderation",
            }
        )  # fmt: skip
    items += [
        {"trace_id": trace, "name": "refusal", "label": "yes" if rng.random() < 0.04 else "no", "source": "judge"}
        for trace in traces[::3]
    ]
    items += [
        {"trace_id": trace, "name": "helpful", "score": float(rng.integers(1, 6)), "source": "user"}
        for trace in traces[::4]
    ]
    post(service, "/api/evaluations", items)
    events: list[dict[str, Any]] = []
    for i, (trace, session, _user) in enumerate(rows):
        if rng.random() < 0.12:
            events.append({"trace_id": trace, "thumbs": "up" if rng.random() < 0.7 else "down"})
        if rng.random() < 0.2:
            events.append({"trace_id": trace, "kind": "copy"})
        if rng.random() < 0.05:
            events.append({"trace_id": trace, "kind": "regenerate"})
        if i % 500 == 0:
            events.append({"trace_id": trace, "kind": "report", "value": "offensive"})
        if session and i % 60 == 0:
            events.append({"session_id": session, "kind": "abandon"})
    post(service, "/api/feedback", events)


def post(service: Service, path: str, items: list[dict[str, Any]]) -> None:
    for at in range(0, len(items), 2000):
        answer = httpx2.post(f"{service.addresses['http']}{path}", json=items[at : at + 2000], timeout=60)
        assert answer.status_code == 200, answer.text


def send_gpu_samples(service: Service) -> None:
    """An hour of three nodes with four GPUs each; one node is hotter and busier than the others."""
    transport = open_transport(service.addresses["grpc"], "grpc", signal="metrics")
    now_ns = time.time_ns()
    for number, node in enumerate(NODES):
        starts = Starts()
        for second in range(-3600, 0, 30):
            busy = 0.45 + 0.2 * number + 0.1 * np.sin(second / 400)
            readings = tuple(
                Reading(
                    gpu=f"{node}-{gpu}", index=gpu, model="H100", busy=float(busy), memory_used_bytes=(50 + 5 * number) * 1e9,
                    memory_limit_bytes=80e9, power_w=250 + 200 * float(busy),
                )
                for gpu in range(4)
            )  # fmt: skip
            sample = Sample(time_ns=now_ns + second * 10**9, readings=readings)
            body = request(sample, resource(node), starts).SerializeToString()
            answer = transport.export(body, 20)
            if answer.verdict == "retry":  # on a busy machine a connection takes its time
                answer = transport.export(body, 60)
            assert answer.verdict == "accepted", answer.reason
    transport.close()


def wait_for_the_rest(service: Service) -> None:
    """Until judgements and samples are out of the log."""
    client = connect(service.addresses["clickhouse"])
    deadline = time.monotonic() + 60
    while True:
        evaluations, samples = (
            int(client.command(f"SELECT count() FROM {table}")) for table in ("evaluations", "gpu_samples")
        )
        if evaluations >= 3 * JUDGED and samples >= 120 * 4 * len(NODES):
            break
        assert time.monotonic() < deadline, json.dumps([evaluations, samples])
        time.sleep(0.3)
    client.close()
