"""From metric data points to rows of gpu_samples: each emitter's names and units, one row a device and time."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from monitor import gpu_semconv
from monitor.store import gpu_dialects
from monitor.store.client import Client

AT = datetime(2026, 11, 22, 10, 0, 0, 250_000, tzinfo=UTC)
GPU = "GPU-aaaaaaaa-0000-0000-0000-000000000000"
HW = {"hw.id": GPU, "hw.type": "gpu"}
Point = tuple[str, float, dict[str, str]]


def put(
    client: Client,
    *points: Point,
    table: str = "gauge",
    resource: dict[str, str] | None = None,
    at: datetime = AT,
    service: str = "svc",
    flags: int = 0,
) -> None:
    columns = [
        "ResourceAttributes",
        "ServiceName",
        "MetricName",
        "Attributes",
        "TimeUnix",
        "StartTimeUnix",
        "Value",
        "Flags",
    ]
    place = {"host.name": "gpu-7"} if resource is None else resource
    rows = [[place, service, name, attributes, at, at, value, flags] for name, value, attributes in points]
    client.insert(f"otel_metrics_{table}", rows, column_names=columns, settings={"async_insert": 0})


def samples(client: Client) -> list[dict[str, Any]]:
    """What is known of each sample."""
    sql = "SELECT *, utilization, memory_total_bytes FROM gpu_samples FINAL ORDER BY timestamp, node, gpu"
    rows = client.query(sql).named_results()
    return [{name: value for name, value in row.items() if value not in (None, "", {})} for row in rows]


def row(**values: Any) -> dict[str, Any]:
    return {"timestamp": AT.replace(tzinfo=None), "node": "gpu-7", "gpu": GPU, "service": "svc", **values}


def test_the_points_of_one_sample_are_one_row_from_both_tables(store_client: Client) -> None:
    everything = {**HW, "hw.model": "H100", "gpu.index": "3"}
    gauges: list[Point] = []
    sums: list[Point] = []
    wanted: dict[str, float] = {}
    for number, name in enumerate(gpu_semconv.OTEL, start=1):
        point = (
            name.metric,
            float(number),
            {**everything, name.attribute: name.value} if name.attribute else everything,
        )
        (gauges if name.kind == "gauge" else sums).append(point)
        wanted[name.column] = float(number)
    assert set(wanted) == set(gpu_semconv.COLUMNS)
    for point in gauges:  # each in an insert of its own: they need not arrive together
        put(store_client, point)
    put(store_client, *sums, table="sum")
    put(store_client, *sums, table="sum")  # sent twice
    put(
        store_client,
        ("hw.status", 0.0, {**HW, "hw.state": "ok"}),
        ("hw.status", 1.0, {**HW, "hw.state": "degraded"}),
        ("hw.errors", 2.0, {**HW, "error.type": "xid_79"}),
        ("hw.errors", 1.0, {**HW, "error.type": "xid_13"}),
        table="sum",
        resource={"host.name": "gpu-7", "deployment.environment.name": "prod", "cloud.region": "eu-central-1"},
    )
    assert samples(store_client) == [
        row(
            gpu_index=3, gpu_model="H100", environment="prod", region="eu-central-1", status="degraded",
            xid_errors={"79": 2.0, "13": 1.0}, utilization=wanted["busy"], memory_total_bytes=wanted["memory_limit_bytes"],
            **wanted,
        )
    ]  # fmt: skip


def test_samples_of_other_times_devices_and_nodes_are_other_rows(store_client: Client) -> None:
    for at in (AT, AT + timedelta(seconds=1)):
        for node in ("a", "b"):
            for number in (0, 1):
                put(
                    store_client,
                    ("hw.power", 100.0 + number, {"hw.id": f"GPU-{number}", "hw.type": "gpu"}),
                    at=at,
                    resource={"host.name": node},
                )
    found = samples(store_client)
    assert [(each["node"], each["gpu"], each["power_w"]) for each in found] == [
        ("a", "GPU-0", 100.0), ("a", "GPU-1", 101.0), ("b", "GPU-0", 100.0), ("b", "GPU-1", 101.0),
    ] * 2  # fmt: skip


def test_openlit_names_in_percent_and_mebibytes(store_client: Client) -> None:
    said = {
        "telemetry.sdk.name": "openlit", "service.name": "chat", "deployment.environment": "prod", "gpu.index": "0",
        "gpu.uuid": GPU, "gpu.name": "NVIDIA A10",
    }  # fmt: skip
    values = {
        "utilization": 57, "enc.utilization": 3, "dec.utilization": 4, "temperature": 61, "memory.used": 1000,
        "memory.free": 22000, "memory.total": 23028, "memory.available": 22000, "power.draw": 120, "power.limit": 150,
        "fan_speed": 0,
    }  # fmt: skip
    put(store_client, *((f"gpu.{name}", float(value), said) for name, value in values.items()))
    mib = 1024 * 1024
    assert samples(store_client) == [
        row(
            gpu_index=0, gpu_model="NVIDIA A10", environment="prod", busy=0.57, encoder=0.03, decoder=0.04,
            temperature_c=61.0, memory_used_bytes=1000.0 * mib, memory_free_bytes=22000.0 * mib,
            memory_limit_bytes=23028.0 * mib, power_w=120.0, power_limit_w=150.0,
            utilization=0.57, memory_total_bytes=23028.0 * mib,
        )
    ]  # fmt: skip


DCGM_LABELS = {
    "gpu": "1", "UUID": GPU, "pci_bus_id": "00000000:1B:00.0", "device": "nvidia1", "modelName": "NVIDIA H100 80GB HBM3",
    "hostname": "gpu-7", "DCGM_FI_DRIVER_VERSION": "580.65.06",
}  # fmt: skip
SCRAPED = {"service.name": "dcgm", "server.address": "10.0.0.9", "host.name": "collector-of-all"}


def test_dcgm_names_as_a_collector_scrapes_them(store_client: Client) -> None:
    used_by = {**DCGM_LABELS, "exported_pod": "llama-0", "exported_namespace": "ml", "pod": "nvidia-dcgm-exporter-x"}
    gauges = {
        "DEV_GPU_UTIL": 57, "DEV_MEM_COPY_UTIL": 12, "DEV_ENC_UTIL": 0, "DEV_DEC_UTIL": 0, "PROF_GR_ENGINE_ACTIVE": 0.91,
        "PROF_PIPE_TENSOR_ACTIVE": 0.4, "PROF_DRAM_ACTIVE": 0.5, "DEV_FB_USED": 70000, "DEV_FB_FREE": 10000,
        "DEV_FB_RESERVED": 900, "DEV_POWER_USAGE": 412.25, "DEV_GPU_TEMP": 55, "DEV_SM_CLOCK": 1980, "DEV_MEM_CLOCK": 2619,
        "DEV_XID_ERRORS": 43, "DEV_ROW_REMAP_FAILURE": 0, "PROF_PCIE_TX_BYTES": 100, "PROF_PCIE_RX_BYTES": 200,
        "DEV_MEMORY_TEMP": 9223372036854775794, "DEV_CLOCKS_EVENT_REASONS": 4, "DEV_VGPU_LICENSE_STATUS": 1,
    }  # fmt: skip
    counters = {
        "DEV_TOTAL_ENERGY_CONSUMPTION": 1_500_250, "DEV_PCIE_REPLAY_COUNTER": 1, "DEV_CORRECTABLE_REMAPPED_ROWS": 2,
        "DEV_UNCORRECTABLE_REMAPPED_ROWS": 0, "DEV_NVLINK_BANDWIDTH_TOTAL": 5, "DEV_ECC_SBE_VOL_TOTAL": 2147483634,
    }  # fmt: skip
    put(
        store_client,
        *((f"DCGM_FI_{name}", float(value), used_by) for name, value in gauges.items()),
        resource=SCRAPED,
        service="dcgm",
    )
    put(store_client, *((f"DCGM_FI_{name}", float(value), used_by) for name, value in counters.items()), resource=SCRAPED, service="dcgm", table="sum")  # fmt: skip
    mib = 1024 * 1024
    assert samples(store_client) == [
        row(
            service="dcgm", gpu_index=1, gpu_model="NVIDIA H100 80GB HBM3", pod="llama-0", namespace="ml",
            busy=0.57, memory_busy=0.12, encoder=0.0, decoder=0.0, engine_active=0.91, tensor_active=0.4, dram_active=0.5,
            memory_used_bytes=70000.0 * mib, memory_free_bytes=10000.0 * mib, memory_reserved_bytes=900.0 * mib,
            power_w=412.25, temperature_c=55.0, sm_clock_hz=1.98e9, memory_clock_hz=2.619e9, xid=43.0, remap_failure=0.0,
            pcie_tx_bytes_per_s=100.0, pcie_rx_bytes_per_s=200.0, throttle_reasons=4, energy_j=1500.25, pcie_replays=1.0,
            remapped_rows_corrected=2.0, remapped_rows_uncorrected=0.0,
            utilization=0.57, memory_total_bytes=80900.0 * mib,
        )
    ]  # fmt: skip


def test_mig_instances_of_dcgm_keep_their_own_and_leave_the_rest_to_their_gpu(store_client: Client) -> None:
    seven = {**DCGM_LABELS, "GPU_I_PROFILE": "1g.10gb", "GPU_I_ID": "7", "pod": "small-0", "namespace": "ml"}
    nine = {**DCGM_LABELS, "GPU_I_PROFILE": "3g.40gb", "GPU_I_ID": "9", "pod": "", "namespace": ""}
    for labels, active, used in ((seven, 0.8, 6000.0), (nine, 0.1, 20.0)):
        put(
            store_client,
            ("DCGM_FI_PROF_GR_ENGINE_ACTIVE", active, labels),
            ("DCGM_FI_DEV_FB_USED", used, labels),
            ("DCGM_FI_DEV_FB_FREE", 4000.0, labels),
            ("DCGM_FI_DEV_POWER_USAGE", 300.0, labels),  # of the whole GPU: 300 W, not 600
            ("DCGM_FI_DEV_GPU_TEMP", 50.0, labels),
            resource=SCRAPED,
        )
    model = "NVIDIA H100 80GB HBM3"
    mib = 1024 * 1024
    assert samples(store_client) == [
        row(gpu_index=1, gpu_model=model, power_w=300.0, temperature_c=50.0),
        row(
            gpu=f"{GPU}/7", gpu_index=1, gpu_model=model, parent=GPU, profile="1g.10gb", pod="small-0", namespace="ml",
            engine_active=0.8, utilization=0.8, memory_used_bytes=6000.0 * mib, memory_free_bytes=4000.0 * mib,
            memory_total_bytes=10000.0 * mib,
        ),
        row(
            gpu=f"{GPU}/9", gpu_index=1, gpu_model=model, parent=GPU, profile="3g.40gb",
            engine_active=0.1, utilization=0.1, memory_used_bytes=20.0 * mib, memory_free_bytes=4000.0 * mib,
            memory_total_bytes=4020.0 * mib,
        ),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "value",
    [9223372036854775792, 9223372036854775794, 9223372036854775807, 2147483632, 2147483634, 2147483647, 140737488355328, 140737488355330],
)  # fmt: skip
def test_blanks_of_dcgm_are_unknown_and_other_emitters_may_have_such_numbers(store_client: Client, value: int) -> None:
    put(
        store_client, ("DCGM_FI_DEV_POWER_USAGE", float(value), DCGM_LABELS), ("DCGM_FI_DEV_GPU_UTIL", 5.0, DCGM_LABELS)
    )
    (found,) = samples(store_client)
    assert ("power_w" in found, found["busy"]) == (False, 0.05)
    put(store_client, ("hw.gpu.memory.usage", float(value), HW), table="sum")
    assert samples(store_client)[0]["memory_used_bytes"] == float(value)


NO_READINGS: list[tuple[Point, int]] = [
    (("hw.power", math.nan, HW), 0),
    (("hw.power", math.inf, HW), 0),
    (("hw.power", -1.0, HW), 0),
    (("hw.power", 0.0, HW), 1),  # "no recorded value": the series has ended
    (("hw.power", 80.0, {"hw.id": "psu-1", "hw.type": "power_supply"}), 0),
    (("hw.power", 80.0, {"hw.id": "cpu0"}), 0),
    (("hw.errors", 80.0, {"hw.id": "cpu0", "hw.type": "cpu", "error.type": "corrected"}), 0),
    (("hw.errors", 80.0, {**HW, "error.type": "something"}), 0),
    (("hw.gpu.utilization", 0.5, {**HW, "hw.gpu.task": "something"}), 0),
    (("hw.temperature", 50.0, {**HW, "hw.sensor_location": "board"}), 0),
    (("hw.status", 0.0, {**HW, "hw.state": "ok"}), 0),
    (("hw.gpu.utilization", 0.5, {"hw.gpu.task": "general"}), 0),  # of no device
    (("gpu.fan_speed", 0.0, {"gpu.uuid": GPU}), 0),
    (("http.server.request.duration", 1.0, HW), 0),
]


@pytest.mark.parametrize(("point", "flags"), NO_READINGS)
def test_what_is_no_reading_is_no_row(store_client: Client, point: Point, flags: int) -> None:
    put(store_client, point, flags=flags)
    assert samples(store_client) == []


def test_a_general_task_may_go_without_saying_and_temperatures_may_be_below_zero(store_client: Client) -> None:
    put(store_client, ("hw.gpu.utilization", 0.5, {"hw.id": GPU}), ("hw.temperature", -4.5, {"hw.id": GPU}))
    assert samples(store_client) == [row(busy=0.5, utilization=0.5, temperature_c=-4.5)]


@pytest.mark.parametrize(
    ("resource", "labels", "node"),
    [
        ({"monitor.node": "m", "k8s.node.name": "k", "host.name": "h"}, {"hostname": "label"}, "m"),
        ({"k8s.node.name": "k", "host.name": "h"}, {"Hostname": "label"}, "label"),
        ({"k8s.node.name": "k", "host.name": "h"}, {"hostname": "nvidia-dcgm-exporter-abc12"}, "k"),
        ({"k8s.node.name": "k", "host.name": "h"}, {}, "k"),
        ({"host.name": "h", "server.address": "s"}, {}, "h"),
        ({"server.address": "s"}, {}, "s"),
    ],
)
def test_the_node_is_what_the_page_says_then_what_the_resource_says(
    store_client: Client, resource: dict[str, str], labels: dict[str, str], node: str
) -> None:
    put(store_client, ("DCGM_FI_DEV_GPU_UTIL", 5.0, {"UUID": GPU, "gpu": "0", **labels}), resource=resource)
    assert [each["node"] for each in samples(store_client)] == [node]


def test_the_table_of_names_is_of_one_mind() -> None:
    for name in (*gpu_semconv.OTEL, *gpu_semconv.OPENLIT, *gpu_semconv.DCGM):
        assert name.column in gpu_semconv.COLUMNS, name
        assert bool(name.attribute) == bool(name.value), name
    for metric in {name.metric for name in gpu_semconv.OTEL}:
        kinds = {(name.kind, name.unit) for name in gpu_semconv.OTEL if name.metric == metric}
        assert len(kinds) == 1, f"{metric} would be sent as two kinds"
    assert set(gpu_semconv.SIGNED) | set(gpu_dialects.INTEGERS) <= set(gpu_semconv.COLUMNS)
