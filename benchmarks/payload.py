"""The spans that the ingest benchmark sends: requests of 512, one span in five a model call with 22 attributes."""

from __future__ import annotations

import random
from typing import Final

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

SPANS_PER_REQUEST: Final = 512
CALL_EVERY: Final = 5

Value = str | bool | int | float | list[str]


def make_request(seed: int, now_ns: int, spans: int = SPANS_PER_REQUEST) -> bytes:
    """One serialised request; ids differ by seed."""
    chance = random.Random(seed)
    request = ExportTraceServiceRequest()
    resource_spans = request.resource_spans.add()
    for key, value in {
        "service.name": "chat-api",
        "host.name": f"gpu-{seed % 4}",
        "deployment.environment.name": "production",
        "cloud.region": "eu-central-1",
        "telemetry.sdk.name": "opentelemetry",
    }.items():
        attribute = resource_spans.resource.attributes.add()
        attribute.key, attribute.value.string_value = key, value
    scope_spans = resource_spans.scope_spans.add()
    scope_spans.scope.name, scope_spans.scope.version = "benchmark", "1"
    for index in range(spans):
        span = scope_spans.spans.add()
        span.trace_id, span.span_id = chance.randbytes(16), chance.randbytes(8)
        span.kind = Span.SPAN_KIND_CLIENT
        span.start_time_unix_nano = now_ns - chance.randrange(60 * 10**9)
        span.end_time_unix_nano = span.start_time_unix_nano + chance.randrange(10**8, 10**10)
        span.name, attributes = _call(chance) if index % CALL_EVERY == 0 else _other(chance, index)
        for key, value in attributes.items():
            _set(span, key, value)
    return request.SerializeToString()


def _call(chance: random.Random) -> tuple[str, dict[str, Value]]:
    model = f"llama-3.{chance.randrange(3)}-8b"
    return f"chat {model}", {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "vllm",
        "gen_ai.request.model": model,
        "gen_ai.response.model": model,
        "gen_ai.response.id": f"chatcmpl-{chance.getrandbits(128):032x}",
        "gen_ai.response.finish_reasons": ["stop"],
        "gen_ai.response.time_to_first_chunk": chance.expovariate(5),
        "gen_ai.request.stream": True,
        "gen_ai.request.max_tokens": 1024,
        "gen_ai.request.temperature": 0.7,
        "gen_ai.request.top_p": 0.95,
        "gen_ai.usage.input_tokens": chance.randrange(1, 4000),
        "gen_ai.usage.output_tokens": chance.randrange(1, 900),
        "gen_ai.usage.cache_read.input_tokens": chance.randrange(100),
        "gen_ai.latency.time_in_queue": chance.expovariate(20),
        "gen_ai.latency.time_in_model_prefill": chance.expovariate(10),
        "gen_ai.latency.time_in_model_decode": chance.expovariate(0.5),
        "session.id": f"session-{chance.randrange(50_000)}",
        "user.id": f"user-{chance.randrange(20_000)}",
        "server.address": "10.0.0.7",
        "server.port": 8000,
        "monitor.variant": "fp8",
    }


def _other(chance: random.Random, index: int) -> tuple[str, dict[str, Value]]:
    return "POST /v1/chat/completions", {
        "http.request.method": "POST",
        "http.response.status_code": 200,
        "http.route": "/v1/chat/completions",
        "url.path": "/v1/chat/completions",
        "user_agent.original": "python-httpx/0.28.1",
        "network.protocol.version": "1.1",
        "server.address": "10.0.0.7",
        "client.address": f"10.1.{index % 7}.{index % 250}",
        "request.id": f"{chance.getrandbits(128):032x}",
    }


def _set(span: Span, key: str, value: Value) -> None:
    attribute = span.attributes.add()
    attribute.key = key
    # A bool is an int to Python, so it is asked for first.
    if isinstance(value, bool):
        attribute.value.bool_value = value
    elif isinstance(value, int):
        attribute.value.int_value = value
    elif isinstance(value, float):
        attribute.value.double_value = value
    elif isinstance(value, str):
        attribute.value.string_value = value
    else:
        for item in value:
            attribute.value.array_value.values.add().string_value = item
