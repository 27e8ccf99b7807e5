"""Readings as OTLP: names, units, kinds, identity, counters that begin anew, and who sends."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from collectors.gpu.metrics import Starts, node_of, request, resource
from collectors.gpu.readings import Reading, Sample
from monitor import gpu_semconv

WHO = {"service.name": "gpu-collector", "host.name": "gpu-7"}
T0 = 1_800_000_000_000_000_000
SECOND = 10**9
GPU = Reading(gpu="GPU-1", index=0, model="H100")

Points = dict[tuple[str, str], tuple[float, int]]


def points(message: ExportMetricsServiceRequest) -> Points:
    """(metric, attribute that tells it apart) -> value and start."""
    apart = {name.metric: name.attribute for name in gpu_semconv.OTEL if name.attribute} | {"hw.status": "hw.state"}
    found: Points = {}
    for resource_metrics in message.resource_metrics:
        for metric in resource_metrics.scope_metrics[0].metrics:
            for point in (metric.gauge if metric.HasField("gauge") else metric.sum).data_points:
                said = {each.key: each.value.string_value for each in point.attributes}
                key = (metric.name, said.get(apart.get(metric.name, ""), ""))
                assert key not in found
                found[key] = (point.as_double, point.start_time_unix_nano)
    return found


def sent(reading: Reading, **options: Any) -> ExportMetricsServiceRequest:
    return request(Sample(time_ns=T0, readings=(reading,)), WHO, Starts(), **options)


def test_every_reading_has_its_metric_with_unit_and_kind() -> None:
    values = {name: float(number) for number, name in enumerate(gpu_semconv.COLUMNS, start=1)}
    message = sent(Reading(gpu="GPU-1", index=3, model="H100", **values))
    wanted = {(name.metric, name.value): values[name.column] for name in gpu_semconv.OTEL}
    assert {key: value for key, (value, _) in points(message).items()} == wanted
    assert len(wanted) == len(gpu_semconv.COLUMNS)
    (scope,) = message.resource_metrics[0].scope_metrics
    assert scope.scope.name == "collectors.gpu"
    for name in gpu_semconv.OTEL:
        metric = next(each for each in scope.metrics if each.name == name.metric)
        assert metric.unit == name.unit
        assert metric.HasField("gauge") == (name.kind == "gauge")
        if name.kind != "gauge":
            assert (metric.sum.is_monotonic, metric.sum.aggregation_temporality) == (name.kind == "counter", 2)
        data = metric.gauge.data_points if name.kind == "gauge" else metric.sum.data_points
        assert [point.time_unix_nano for point in data] == [T0] * len(data)
    assert {each.key: each.value.string_value for each in scope.metrics[0].gauge.data_points[0].attributes} == {
        "hw.id": "GPU-1", "hw.type": "gpu", "hw.vendor": "NVIDIA", "hw.model": "H100", "gpu.index": "3",
        "hw.gpu.task": "general",
    }  # fmt: skip


def test_what_is_unknown_is_not_sent() -> None:
    assert points(sent(GPU)) == {}
    assert points(sent(dataclasses.replace(GPU, power_w=0.0))) == {("hw.power", ""): (0.0, 0)}


def test_an_instance_names_its_gpu_and_its_user() -> None:
    instance = Reading(
        gpu="MIG-1", parent="GPU-1", profile="1g.10gb", pod="llama-0", namespace="ml", memory_used_bytes=5.0
    )
    (metric,) = sent(instance).resource_metrics[0].scope_metrics[0].metrics
    assert {each.key: each.value.string_value for each in metric.sum.data_points[0].attributes} == {
        "hw.id": "MIG-1", "hw.type": "gpu", "hw.vendor": "NVIDIA", "hw.parent": "GPU-1", "monitor.gpu.profile": "1g.10gb",
        "k8s.pod.name": "llama-0", "k8s.namespace.name": "ml",
    }  # fmt: skip


def test_the_status_has_a_point_for_each_state() -> None:
    assert points(sent(dataclasses.replace(GPU, status="degraded"))) == {
        ("hw.status", state): (1.0 if state == "degraded" else 0.0, 0)
        for state in ("ok", "degraded", "failed", "predicted_failure", "needs_cleaning")
    }


def test_xid_errors_count_from_the_begin_of_the_collector() -> None:
    message = sent(dataclasses.replace(GPU, xid=79.0, xid_errors={79: 1, 13: 4}), began_ns=T0 - 60 * SECOND)
    assert points(message) == {
        ("monitor.gpu.xid", ""): (79.0, 0),
        ("hw.errors", "xid_13"): (4.0, T0 - 60 * SECOND),
        ("hw.errors", "xid_79"): (1.0, T0 - 60 * SECOND),
    }


def test_a_counter_that_begins_anew_says_since_when() -> None:
    starts = Starts()
    energy = []
    for second, (value, other) in enumerate([(100.0, 7.0), (250.0, 7.0), (20.0, 7.0), (20.0, 7.0), (60.0, 0.0)]):
        readings = (dataclasses.replace(GPU, energy_j=value), Reading(gpu="GPU-2", energy_j=other))
        sample = Sample(time_ns=T0 + second * SECOND, readings=readings)
        metric = request(sample, WHO, starts).resource_metrics[0].scope_metrics[0].metrics[0]
        energy.append(
            [(point.as_double, (point.start_time_unix_nano - T0) // SECOND) for point in metric.sum.data_points]
        )
    assert energy == [
        [(100.0, 0), (7.0, 0)],
        [(250.0, 0), (7.0, 0)],
        [(20.0, 1), (7.0, 0)],  # the driver was loaded again, some time after the reading before
        [(20.0, 1), (7.0, 0)],
        [(60.0, 1), (0.0, 3)],
    ]


def test_readings_of_several_nodes_are_sent_as_theirs() -> None:
    readings = tuple(Reading(gpu=f"GPU-{node}", node=node, power_w=1.0) for node in ("b", "gpu-7", "a", "", "b"))
    message = request(Sample(time_ns=T0, readings=readings), WHO, Starts())
    found = [
        ({each.key: each.value.string_value for each in part.resource.attributes}, len(part.scope_metrics[0].metrics[0].gauge.data_points))
        for part in message.resource_metrics
    ]  # fmt: skip
    assert found == [({**WHO, "monitor.node": "a"}, 1), ({**WHO, "monitor.node": "b"}, 2), (WHO, 2)]


@pytest.mark.parametrize(
    ("variables", "node", "wanted", "name"),
    [
        ({}, "", {}, "this-host"),
        ({"K8S_NODE_NAME": "k1", "K8S_POD_NAME": "p1"}, "", {"k8s.node.name": "k1", "k8s.pod.name": "p1"}, "k1"),
        ({"NODE_NAME": "k2", "POD_NAME": "p2"}, "", {"k8s.node.name": "k2", "k8s.pod.name": "p2"}, "k2"),
        ({"OTEL_RESOURCE_ATTRIBUTES": "host.name=h,cloud.region=eu,monitor.node=m"}, "",
         {"host.name": "h", "cloud.region": "eu", "monitor.node": "m"}, "m"),
        ({"OTEL_RESOURCE_ATTRIBUTES": "monitor.node=m"}, "given", {"monitor.node": "given"}, "given"),
        ({"OTEL_SERVICE_NAME": "gpus"}, "", {"service.name": "gpus"}, "this-host"),
    ],
)  # fmt: skip
def test_who_sends(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], node: str, wanted: dict[str, str], name: str
) -> None:
    for variable in (
        "K8S_NODE_NAME",
        "NODE_NAME",
        "KUBE_NODE_NAME",
        "K8S_POD_NAME",
        "POD_NAME",
        "OTEL_RESOURCE_ATTRIBUTES",
        "OTEL_SERVICE_NAME",
    ):
        monkeypatch.delenv(variable, raising=False)
    for variable, value in variables.items():
        monkeypatch.setenv(variable, value)
    monkeypatch.setattr("socket.gethostname", lambda: "this-host")
    who = resource(node)
    assert who == {"service.name": "gpu-collector", "host.name": "this-host", **wanted}
    assert node_of(who) == name
