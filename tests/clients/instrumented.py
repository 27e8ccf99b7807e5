"""A program that calls a model through the `openai` client, instrumented by one of the public instrumentations.

It runs in a process of its own, because both patch the same classes. One argument, a JSON document:

- `instrumentation`: `openinference` or `openllmetry`;
- `grpc` and `http`: addresses of the receivers; `transport`: which of them spans go to;
- `service`: its `service.name`;
- `base_url`: of the API;
- `calls`: a list of `{operation, model, prompt, stream, usage, asynchronous, attempts, stop_after}`.

On stdout a list: what each call gave, as the program itself saw it.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

import openai
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter as GrpcMetrics
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcSpans
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter as HttpMetrics
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpSpans
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricExporter, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter


def main(order: dict[str, Any]) -> list[dict[str, Any]]:
    resource = Resource({"service.name": order["service"]})
    spans: SpanExporter
    points: MetricExporter
    if order["transport"] == "grpc":
        spans = GrpcSpans(endpoint=order["grpc"], insecure=True)
        points = GrpcMetrics(endpoint=order["grpc"], insecure=True)
    else:
        spans = HttpSpans(endpoint=f"{order['http']}/v1/traces")
        points = HttpMetrics(endpoint=f"{order['http']}/v1/metrics")
    provider = TracerProvider(resource=resource)
    provider.add_span_processor(BatchSpanProcessor(spans))
    meters = MeterProvider([PeriodicExportingMetricReader(points)], resource=resource)
    _instrument(order["instrumentation"], provider, meters)
    given = []
    for call in order["calls"]:
        options = {"base_url": order["base_url"], "api_key": "none", "max_retries": call["attempts"] - 1}
        begin = time.time()
        try:
            if call["asynchronous"]:
                seen = asyncio.run(_call_async(openai.AsyncOpenAI(**options), call))
            else:
                seen = _call(openai.OpenAI(**options), call)
        except Exception as error:  # whatever it is, the test compares its name
            seen = {"error": type(error).__name__}
        given.append({"begin": begin, "end": time.time(), **seen})
    provider.shutdown()
    meters.shutdown()
    return given


def _instrument(name: str, provider: TracerProvider, meters: MeterProvider) -> None:
    if name == "openinference":
        from openinference.instrumentation.openai import OpenAIInstrumentor as OpenInference

        OpenInference().instrument(tracer_provider=provider)
    else:
        from opentelemetry.instrumentation.openai import OpenAIInstrumentor as OpenLLMetry

        OpenLLMetry().instrument(tracer_provider=provider, meter_provider=meters)


def _arguments(call: dict[str, Any]) -> dict[str, Any]:
    messages = [{"role": "system", "content": "be brief"}, {"role": "user", "content": call["prompt"]}]
    arguments = {"model": call["model"], "messages": messages, "temperature": 0.5, "max_tokens": 100, "user": "u-1"}
    if call["stream"]:
        arguments["stream"] = True
        if call["usage"]:
            arguments["stream_options"] = {"include_usage": True}
    return arguments


def _call(client: openai.OpenAI, call: dict[str, Any]) -> dict[str, Any]:
    if call["operation"] == "embeddings":
        vectors = client.embeddings.create(model=call["model"], input=call["prompt"])
        return {"vectors": len(vectors.data)}
    answer: Any = client.chat.completions.create(**_arguments(call))
    if not call["stream"]:
        return {"text": answer.choices[0].message.content}
    text, first = "", 0.0
    for number, chunk in enumerate(answer):
        first = first or time.time()
        text += chunk.choices[0].delta.content or "" if chunk.choices else ""
        if number + 1 == call["stop_after"]:
            answer.close()
            break
    return {"text": text, "first": first}


async def _call_async(client: openai.AsyncOpenAI, call: dict[str, Any]) -> dict[str, Any]:
    if call["operation"] == "embeddings":
        vectors = await client.embeddings.create(model=call["model"], input=call["prompt"])
        return {"vectors": len(vectors.data)}
    answer: Any = await client.chat.completions.create(**_arguments(call))
    if not call["stream"]:
        return {"text": answer.choices[0].message.content}
    text, first, number = "", 0.0, 0
    async for chunk in answer:
        first = first or time.time()
        number += 1
        text += chunk.choices[0].delta.content or "" if chunk.choices else ""
        if number == call["stop_after"]:
            await answer.close()
            break
    return {"text": text, "first": first}


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]))))
