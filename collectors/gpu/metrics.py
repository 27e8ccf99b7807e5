"""Readings as an OTLP request: OpenTelemetry's `hw.*` metrics, and ours where it has none.

Counters are cumulative: their points carry the time since which they count. A counter that is smaller than before began
anew (the driver was loaded again, an exporter started again) some time after the reading before, and says so.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from itertools import groupby
from typing import Final

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality, Metric, NumberDataPoint, ScopeMetrics
from opentelemetry.sdk.resources import OTELResourceDetector

from collectors.gpu.readings import Reading, Sample
from monitor import gpu_semconv as gpu
from monitor import semconv
from monitor.gpu_semconv import Name

SERVICE: Final = "gpu-collector"
SCOPE: Final = "collectors.gpu"
# Variables by which a pod is told where it runs (`fieldRef` of a DaemonSet); there is no one name for them.
_NODE_VARIABLES: Final = ("K8S_NODE_NAME", "NODE_NAME", "KUBE_NODE_NAME")
_POD_VARIABLES: Final = ("K8S_POD_NAME", "POD_NAME")


def resource(node: str = "") -> dict[str, str]:
    """Who sends: `service.name`, `host.name`, on Kubernetes node and pod, and what OTEL_RESOURCE_ATTRIBUTES and
    OTEL_SERVICE_NAME say. `node` is the name that the serving code uses for this node, if that is another."""
    found = {semconv.SERVICE_NAME: SERVICE, semconv.HOST_NAME: socket.gethostname()}
    for attribute, variables in ((semconv.K8S_NODE_NAME, _NODE_VARIABLES), (gpu.POD, _POD_VARIABLES)):
        name = next((os.environ[variable] for variable in variables if os.environ.get(variable)), "")
        if name:
            found[attribute] = name
    found.update({key: str(value) for key, value in OTELResourceDetector().detect().attributes.items()})
    if node:
        found[semconv.NODE] = node
    return found


def node_of(who: Mapping[str, str]) -> str:
    """The name of the node that the store will know a resource by."""
    return who.get(semconv.NODE) or who.get(semconv.K8S_NODE_NAME) or who[semconv.HOST_NAME]


class Starts:
    """Since when each counter counts."""

    def __init__(self) -> None:
        self._counters: dict[tuple[str, str], tuple[int, int, float]] = {}

    def of(self, device: str, counter: str, value: float, time_ns: int) -> int:
        """Time in ns from which the counter's value is counted; to be asked once for each value, in order."""
        start, before_ns, before = self._counters.get((device, counter), (time_ns, time_ns, value))
        if value < before:
            start = before_ns
        self._counters[device, counter] = (start, time_ns, value)
        return start


def request(
    sample: Sample, who: Mapping[str, str], starts: Starts, *, began_ns: int | None = None
) -> ExportMetricsServiceRequest:
    """The request for one sample.

    Parameters
    ----------
    sample : Sample
        What was read.
    who : mapping
        The resource; readings that name a node of their own are sent as that node's.
    starts : Starts
        Remembers counters from one sample to the next.
    began_ns : int, optional
        When the collector began to count XID errors; the time of the sample if not given.
    """
    message = ExportMetricsServiceRequest()
    own = node_of(who)
    readings = sorted(sample.readings, key=lambda reading: reading.node or own)
    for node, group in groupby(readings, key=lambda reading: reading.node or own):
        attributes = dict(who) if node == own else {**who, semconv.NODE: node}
        metrics = message.resource_metrics.add()
        metrics.resource.attributes.extend(_pairs(attributes))
        scope = metrics.scope_metrics.add()
        scope.scope.name = SCOPE
        _add(scope, list(group), sample.time_ns, starts, began_ns or sample.time_ns)
    return message


def _add(scope: ScopeMetrics, readings: list[Reading], time_ns: int, starts: Starts, began_ns: int) -> None:
    metrics: dict[str, Metric] = {}

    def point(name: Name, reading: Reading, value: float, start_ns: int = 0, **more: str) -> None:
        if name.metric not in metrics:
            metrics[name.metric] = _metric(scope, name)
        metric = metrics[name.metric]
        points = metric.gauge.data_points if name.kind == "gauge" else metric.sum.data_points
        attributes = {**_identity(reading), **more}
        if name.attribute:
            attributes[name.attribute] = name.value
        points.append(
            NumberDataPoint(
                attributes=_pairs(attributes), time_unix_nano=time_ns, start_time_unix_nano=start_ns, as_double=value
            )
        )

    for reading in readings:
        for name in gpu.OTEL:
            value = getattr(reading, name.column)
            if value is None:
                continue
            start = starts.of(reading.gpu, name.column, value, time_ns) if name.kind == "counter" else 0
            point(name, reading, float(value), start)
        for number, count in sorted(reading.xid_errors.items()):
            point(_xid_name(number), reading, float(count), began_ns)
        if reading.status:
            for state in gpu.STATES:
                point(_state_name(state), reading, float(state == reading.status))


def _metric(scope: ScopeMetrics, name: Name) -> Metric:
    metric: Metric = scope.metrics.add()
    metric.name = name.metric
    metric.unit = name.unit
    if name.kind == "gauge":
        metric.gauge.SetInParent()
    else:
        metric.sum.aggregation_temporality = AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE
        metric.sum.is_monotonic = name.kind == "counter"
    return metric


def _xid_name(number: int) -> Name:
    return Name(
        metric=gpu.ERRORS, column="", attribute=gpu.ERROR_TYPE, value=f"{gpu.XID_PREFIX}{number}", kind="counter",
        unit="{error}",
    )  # fmt: skip


def _state_name(state: str) -> Name:
    return Name(metric=gpu.STATUS, column="", attribute=gpu.STATE, value=state, kind="level", unit="1")


def _identity(reading: Reading) -> dict[str, str]:
    said = {
        gpu.ID: reading.gpu,
        gpu.TYPE: "gpu",
        gpu.VENDOR: "NVIDIA",
        gpu.MODEL: reading.model,
        gpu.PARENT: reading.parent,
        gpu.PROFILE: reading.profile,
        gpu.POD: reading.pod,
        gpu.NAMESPACE: reading.namespace,
        gpu.INDEX: "" if reading.index is None else str(reading.index),
    }
    return {key: value for key, value in said.items() if value}


def _pairs(attributes: Mapping[str, str]) -> list[KeyValue]:
    pairs = []
    for key, value in attributes.items():
        pair = KeyValue(key=key)
        pair.value.string_value = value
        pairs.append(pair)
    return pairs
