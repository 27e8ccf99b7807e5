"""`init`: arguments, environment, calling it twice, and other people's OpenTelemetry."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from monitor import sdk
from monitor.errors import ConfigError
from monitor.sdk import lifecycle
from monitor.sdk.config import Config
from monitor.sdk.detect import detect


def config(**arguments: Any) -> Config:
    """The settings that `init` comes to."""
    sdk.init(**arguments)
    found = lifecycle._state.config
    assert found is not None
    sdk.shutdown(timeout_s=0.1)
    return found


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"service": ""}, "service"),
        ({"service": 3}, "service"),
        ({"deployment": "on_premise"}, "did you mean 'on_premises'"),
        ({"pricing": "free"}, "pricing"),
        ({"protocol": "http/json"}, "protocol"),
        ({"endpoint": "http://"}, "endpoint"),
        ({"endpoint": "ftp://x"}, "endpoint"),
        ({"endpoint": "http://x:port"}, "endpoint"),
        ({"queue_size": 0}, "queue_size"),
        ({"interval_s": "1"}, "interval_s"),
        ({"headers": "a=b"}, "headers"),
        ({"resource_attributes": {1: 2}}, "resource_attributes"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_wrong_arguments_are_refused_by_name(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        sdk.init(**wrong)
    with sdk.inference("m"):
        pass


@pytest.mark.parametrize(
    ("arguments", "environment", "endpoint", "protocol"),
    [
        ({}, {}, None, "grpc"),
        ({"endpoint": "http://c:4317"}, {}, "http://c:4317", "grpc"),
        ({"endpoint": "c:4317"}, {}, "http://c:4317", "grpc"),
        ({"endpoint": "https://c"}, {}, "https://c", "grpc"),
        ({"endpoint": "http://c:4318"}, {}, "http://c:4318/v1/traces", "http/protobuf"),
        ({"endpoint": "http://c/v1/traces"}, {}, "http://c/v1/traces", "http/protobuf"),
        (
            {"endpoint": "http://c:9/x", "protocol": "http/protobuf"},
            {},
            "http://c:9/x/v1/traces",
            "http/protobuf",
        ),
        ({"endpoint": "http://c:4318", "protocol": "grpc"}, {}, "http://c:4318", "grpc"),
        ({}, {"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}, None, "http/protobuf"),
        (
            {},
            {"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "grpc"},
            None,
            "grpc",
        ),
        ({"protocol": "grpc"}, {"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}, None, "grpc"),
        ({}, {"OTEL_EXPORTER_OTLP_PROTOCOL": "carrier pigeon"}, None, "grpc"),
    ],
)
def test_endpoint_and_protocol(
    arguments: dict[str, Any],
    environment: dict[str, str],
    endpoint: str | None,
    protocol: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    found = config(**arguments)
    assert (found.endpoint, found.protocol) == (endpoint, protocol)


def test_numbers_from_the_environment(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "100")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "250")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "lots")
    found = config()
    assert (found.queue_size, found.batch_size, found.interval_s) == (100, 100, 0.25)
    assert "OTEL_BSP_MAX_EXPORT_BATCH_SIZE" in caplog.text
    assert config(queue_size=9, interval_s=2, batch_size=3).queue_size == 9


@pytest.mark.parametrize(
    ("said", "argument", "captured"),
    [
        ("", None, False),
        ("true", None, True),
        ("SPAN_ONLY", None, True),
        ("true", False, False),
        ("", True, True),
    ],
)
def test_content_capture(said: str, argument: bool | None, captured: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", said)
    assert config(capture_content=argument).capture_content is captured


def test_second_call_with_the_same_arguments_does_nothing(sent: Any, caplog: pytest.LogCaptureFixture) -> None:
    sent.start()
    with sdk.inference("m"):
        pass
    assert sent.one()
    assert not caplog.records
    assert len([thread for thread in threading.enumerate() if thread.name == "monitor-export"]) == 1


def test_second_call_with_others_warns_by_name(sent: Any, caplog: pytest.LogCaptureFixture) -> None:
    sent.start(headers={"authorization": "Bearer hush"}, service="other")
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "headers, resource" in record.message
    assert "hush" not in record.message
    with sdk.inference("m"):
        pass
    assert sent.one().resource.attributes["service.name"] == "svc"


def test_settings_hide_headers() -> None:
    assert "hush" not in repr(config(headers={"authorization": "hush"}))


def test_a_new_start_after_shutdown(sent: Any) -> None:
    with sdk.inference("m"):
        pass
    first = sdk.stats().emitter
    sdk.shutdown()
    assert sdk.stats().exported == 1
    with sdk.inference("lost"):
        pass
    old = sent.exporter.get_finished_spans()[0]
    sent.exporter = InMemorySpanExporter()
    sent.start(service="second")
    with sdk.inference("m"):
        pass
    new = sent.one()
    assert (old.attributes["monitor.seq"], new.attributes["monitor.seq"]) == (1, 1)
    assert new.resource.attributes["monitor.emitter"] != first == old.resource.attributes["monitor.emitter"]
    assert new.resource.attributes["service.name"] == "second"


def test_without_init_calls_go_through(caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(3):
        with sdk.inference("m") as call:
            assert list(call.stream("ab")) == ["a", "b"]
            call.finish(output_tokens=1)
    assert len(caplog.records) == 1
    assert "monitor.init()" in caplog.text


def test_joins_what_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    theirs, ours = InMemorySpanExporter(), InMemorySpanExporter()
    provider = TracerProvider(resource=Resource.create({"service.name": "theirs", "team": "x"}))
    provider.add_span_processor(SimpleSpanProcessor(theirs))
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
    monkeypatch.setattr(lifecycle._state, "installed", None)
    sdk.init(exporter=ours, node="n1")
    with trace.get_tracer("user").start_as_current_span("outer"), sdk.inference("m"):
        pass
    assert sdk.flush()
    assert [span.name for span in theirs.get_finished_spans()] == ["chat m", "outer"]
    inner, outer = ours.get_finished_spans()
    assert (inner.attributes or {})["monitor.seq"] == 1
    for span in (inner, outer):
        assert span.resource.attributes["service.name"] == "theirs"
        assert span.resource.attributes["team"] == "x"
        assert span.resource.attributes["monitor.node"] == "n1"
    assert "monitor.node" not in theirs.get_finished_spans()[0].resource.attributes
    sdk.shutdown()
    with trace.get_tracer("user").start_as_current_span("after"):
        pass
    assert len(theirs.get_finished_spans()) == 3
    again = InMemorySpanExporter()
    sdk.init(exporter=again, node="n2")
    with sdk.inference("m"):
        pass
    assert sdk.flush()
    assert len(again.get_finished_spans()) == 1, "joining twice must not send twice"
    assert len(ours.get_finished_spans()) == 2


def test_a_provider_that_takes_no_processors(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    ours = InMemorySpanExporter()
    monkeypatch.setattr(trace, "get_tracer_provider", trace.NoOpTracerProvider)
    monkeypatch.setattr(lifecycle._state, "installed", None)
    sdk.init(exporter=ours)
    with sdk.inference("m"):
        pass
    assert sdk.flush()
    assert len(ours.get_finished_spans()) == 1
    assert "takes no span processors" in caplog.text


def test_a_processor_of_the_user_sees_calls_too() -> None:
    """Added to our provider after `init`, which makes calls ordinary SDK spans from then on."""
    theirs, ours = InMemorySpanExporter(), InMemorySpanExporter()
    sdk.init(exporter=ours)
    provider: Any = trace.get_tracer_provider()
    with sdk.inference("before"):
        pass
    processor = SimpleSpanProcessor(theirs)
    provider.add_span_processor(processor)
    try:
        with sdk.inference("m") as call:
            call.finish(output_tokens=3)
        assert sdk.flush()
        (span,) = theirs.get_finished_spans()
        assert (span.attributes or {})["gen_ai.usage.output_tokens"] == 3
        assert [(span.attributes or {})["monitor.seq"] for span in ours.get_finished_spans()] == [1, 2]
    finally:
        processors = provider._active_span_processor
        processors._span_processors = processors._span_processors[:-1]
        processors._count -= 1


RESOURCE = """
import json, sys
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from monitor import sdk
exporter = InMemorySpanExporter()
sdk.init(exporter=exporter, **json.loads(sys.argv[1]))
for _ in range(int(sys.argv[2])):
    with sdk.inference("m", attributes={"long": "x" * 50, **{f"k{n}": n for n in range(40)}}) as call:
        pass
sdk.flush()
print(json.dumps({"stats": vars(sdk.stats()), "ids": call.trace_id, "spans": [
    {"resource": dict(s.resource.attributes), "attributes": dict(s.attributes)} for s in exporter.get_finished_spans()]}))
"""


def test_resource_by_arguments_and_environment(python: Callable[..., str]) -> None:
    said = {
        "service": "chat-api",
        "node": "gpu-7",
        "deployment": "hybrid",
        "pricing": "spot",
        "gpu": "H100",
        "region": "eu-1",
        "environment": "prod",
        "variant": "fp8",
        "release": "3.1",
        "resource_attributes": {"team": "a"},
    }
    out = python(
        RESOURCE,
        json.dumps(said),
        "1",
        OTEL_SERVICE_NAME="from-env",
        OTEL_RESOURCE_ATTRIBUTES="host.name=h1,team=b,zone=z%201",
    )
    resource = json.loads(out)["spans"][0]["resource"]
    resource.pop("service.instance.id", None)  # only newer SDKs set it
    assert len(resource.pop("monitor.emitter")) == 16
    assert resource.pop("telemetry.sdk.version")
    assert resource == {
        **detect(),
        "telemetry.sdk.language": "python",
        "telemetry.sdk.name": "opentelemetry",
        "service.name": "chat-api",
        "service.version": "3.1",
        "deployment.environment.name": "prod",
        "cloud.region": "eu-1",
        "monitor.node": "gpu-7",
        "monitor.deployment": "hybrid",
        "monitor.pricing": "spot",
        "monitor.gpu": "H100",
        "monitor.variant": "fp8",
        "host.name": "h1",
        "team": "a",
        "zone": "z 1",
    }


def test_environment_where_arguments_are_silent(python: Callable[..., str]) -> None:
    out = json.loads(
        python(
            RESOURCE,
            "{}",
            "1",
            OTEL_SERVICE_NAME="from-env",
            OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT="10",
            OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT="20",
        ).splitlines()[-1]
    )
    (span,) = out["spans"]
    assert span["resource"]["service.name"] == "from-env"
    assert len(span["attributes"]) == 10
    assert {"gen_ai.request.model", "gen_ai.operation.name", "monitor.seq", "k39"} <= set(span["attributes"])


def test_sampling_by_the_environment(python: Callable[..., str]) -> None:
    out = json.loads(python(RESOURCE, "{}", "400", OTEL_TRACES_SAMPLER="traceidratio", OTEL_TRACES_SAMPLER_ARG="0.5"))
    stats, numbers = out["stats"], [span["attributes"]["monitor.seq"] for span in out["spans"]]
    assert 100 < len(numbers) < 300
    assert numbers == list(range(1, len(numbers) + 1))
    assert (stats["started"], stats["ended"], stats["unsampled"]) == (400, 400, 400 - len(numbers))


def test_switched_off_by_the_environment(python: Callable[..., str]) -> None:
    out = json.loads(python(RESOURCE, "{}", "3", OTEL_SDK_DISABLED="true"))
    assert out["spans"] == []
    assert out["ids"] == ""
    assert (out["stats"]["started"], out["stats"]["ended"]) == (3, 3)


def test_to_the_console_by_the_environment(python: Callable[..., str]) -> None:
    script = "from monitor import sdk\nsdk.init('svc')\nwith sdk.inference('shown'): pass\n"
    assert '"name": "chat shown"' in python(script, OTEL_TRACES_EXPORTER="console")
    assert python(script, OTEL_TRACES_EXPORTER="none") == ""
