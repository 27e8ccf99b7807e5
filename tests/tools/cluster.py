"""Settings and requests for tests on a real cluster."""

from __future__ import annotations

import random
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from monitor.settings import Settings, load_settings
from tests.tools.clickhouse_server import CLUSTER, Server


def config_for(folder: Path, servers: Sequence[Server], database: str, **collectors: Any) -> Path:
    """A configuration file for the cluster of these servers."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{database}.yaml"
    store = {
        "url": servers[0].url(database),
        "cluster": CLUSTER,
        "nodes": [f"http://127.0.0.1:{server.port}" for server in servers],
    }
    text = yaml.safe_dump({"data": str(folder / "data"), "store": store, "collectors": collectors})
    path.write_text(text, encoding="utf-8")
    return path


def settings_for(folder: Path, servers: Sequence[Server], database: str) -> Settings:
    return load_settings(config_for(folder, servers, database))


def reported_twice(first: int, calls: int, *, now_ns: int | None = None) -> bytes:
    """A request with calls that client and engine report: two spans a trace, from two services."""
    now_ns = now_ns or time.time_ns()
    chance = random.Random(first)
    message = ExportTraceServiceRequest()
    for number in range(first, first + calls):
        seconds = chance.uniform(0.2, 3)
        begin = now_ns - int(chance.uniform(60, 1800) * 1e9)
        words = {"gen_ai.operation.name": "chat", "gen_ai.request.model": chance.choice(["m1", "m2"])}
        tokens = {
            "gen_ai.usage.input_tokens": chance.randint(1, 900),
            "gen_ai.usage.output_tokens": chance.randint(2, 90),
        }
        stages = {
            "gen_ai.latency.time_in_queue": chance.uniform(0, 0.1),
            "gen_ai.latency.time_to_first_token": 0.05 + seconds / 9,
            "gen_ai.latency.e2e": seconds,
        }
        parties: list[tuple[str, str, dict[str, Any], str]] = [
            ("api", "chat m", {**words, **tokens, "user.id": f"u{number % 7}"}, ""),
            ("vllm", "llm_request", {**tokens, **stages}, "parent"),
        ]
        for index, (service, name, attributes, parent) in enumerate(parties):
            resource_spans = message.resource_spans.add()
            _put(resource_spans.resource.attributes, {"service.name": service, "monitor.node": f"gpu-{number % 3}"})
            span = resource_spans.scope_spans.add().spans.add()
            span.trace_id = (number + (1 << 100)).to_bytes(16, "big")
            span.span_id = (2 * number + index).to_bytes(8, "big")
            span.parent_span_id = (2 * number).to_bytes(8, "big") if parent else b""
            span.name, span.kind = name, 3
            span.start_time_unix_nano = begin + index * 10**6
            span.end_time_unix_nano = begin + int(seconds * 1e9) - index * 10**6
            if number % 13 == 0:
                span.status.code = 2
            _put(span.attributes, attributes)
    return message.SerializeToString()


def _put(attributes: Any, values: dict[str, Any]) -> None:
    for key, value in values.items():
        attribute = attributes.add()
        attribute.key = key
        if isinstance(value, str):
            attribute.value.string_value = value
        elif isinstance(value, int):
            attribute.value.int_value = value
        else:
            attribute.value.double_value = value


def post(http: str, body: bytes) -> int:
    """Send a trace request; the status of the answer."""
    request = urllib.request.Request(
        f"{http}/v1/traces", data=body, headers={"content-type": "application/x-protobuf"}, method="POST"
    )
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            answer.read()
            return int(answer.status)
    except urllib.error.HTTPError as error:
        error.read()
        return error.code
