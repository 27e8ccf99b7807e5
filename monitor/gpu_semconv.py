"""What emitters call the readings of a GPU, in one readable table. Standard library only.

`COLUMNS` are the readings as the table `gpu_samples` keeps them, in base units: fractions (0 to 1), bytes, watts, joules,
degrees Celsius, hertz. `OTEL` is what our collector sends: OpenTelemetry's `hw.*` names, and names of ours
(`monitor.gpu.*`) where OpenTelemetry has none. `OPENLIT` and `DCGM` are what others send. From these tables come the
SQL of the store (`monitor.store.gpu_dialects`), the requests of the collector and its reading of a DCGM page.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

# Column -> what it means. Counters only grow, until the driver is loaded again or the emitter starts again.
COLUMNS: Final[Mapping[str, str]] = {
    "busy": "share of time that any kernel ran",
    "engine_active": "share of time that the compute engine was active, measured by the profiling counters",
    "sm_active": "share of time that a multiprocessor had work, mean over all",
    "tensor_active": "share of cycles that the tensor cores were active",
    "dram_active": "share of cycles that memory was read or written",
    "memory_busy": "share of time that memory was read or written",
    "encoder": "video encoder, share of its capacity",
    "decoder": "video decoder, share of its capacity",
    "memory_used_bytes": "memory in use, with what the driver reserves where the emitter counts so",
    "memory_free_bytes": "memory not in use",
    "memory_reserved_bytes": "memory that the driver keeps for itself, where it is not among the used",
    "memory_limit_bytes": "memory in all, as the emitter said",
    "power_w": "power drawn",
    "power_limit_w": "power limit that is enforced",
    "energy_j": "energy used since the driver was loaded, counter",
    "temperature_c": "temperature of the chip",
    "memory_temperature_c": "temperature of the memory",
    "sm_clock_hz": "clock of the multiprocessors",
    "memory_clock_hz": "clock of the memory",
    "throttle_reasons": "why the clocks are not higher, NVML's bit mask",
    "ecc_corrected": "memory errors corrected since the driver was loaded, counter",
    "ecc_uncorrected": "memory errors not corrected since the driver was loaded, counter",
    "remapped_rows_corrected": "memory rows replaced after corrected errors, counter",
    "remapped_rows_uncorrected": "memory rows replaced after uncorrected errors, counter",
    "remap_failure": "1 if a row could not be replaced",
    "xid": "number of the last XID error; 0 if there was none",
    "pcie_tx_bytes_per_s": "bytes a second sent over PCIe",
    "pcie_rx_bytes_per_s": "bytes a second received over PCIe",
    "pcie_replays": "PCIe packets sent again, counter",
    "io_tx_bytes": "bytes sent over NVLink (or whatever the emitter counts as the GPU's transfers), counter",
    "io_rx_bytes": "bytes received likewise, counter",
    "processes": "compute processes that use it",
}

# Whatever is below 0 is no reading, except of these.
SIGNED: Final = ("temperature_c", "memory_temperature_c")

STATES: Final = ("ok", "degraded", "failed", "predicted_failure", "needs_cleaning")

# NVML's reasons for lower clocks that are trouble, not a normal state: hardware slowdown, software and hardware thermal
# slowdown, power brake. The software power cap (0x4) is no trouble: a GPU at full load runs into it all the time.
THROTTLED: Final = 0x8 | 0x20 | 0x40 | 0x80

MIB: Final = 1024.0 * 1024.0


@dataclass(frozen=True, kw_only=True)
class Name:
    """One emitter's name of one column.

    Its unit times `factor` divided by `per` is ours (division keeps 57 % at 0.57, to the last bit). With `attribute`,
    only data points where it has this `value` are meant.
    `whole_gpu`: said of the whole device even where the labels name one MIG instance of it.
    `kind` and `unit` are for sending: a counter is a cumulative monotonic sum, a level one that may go down.
    """

    metric: str
    column: str
    factor: float = 1.0
    per: float = 1.0
    attribute: str = ""
    value: str = ""
    whole_gpu: bool = False
    kind: Literal["gauge", "level", "counter"] = "gauge"
    unit: str = ""


def _otel(
    metric: str,
    unit: str,
    column: str,
    attribute: str = "",
    value: str = "",
    kind: Literal["gauge", "level", "counter"] = "gauge",
) -> Name:
    return Name(metric=metric, unit=unit, column=column, attribute=attribute, value=value, kind=kind)


TASK: Final = "hw.gpu.task"
DIRECTION: Final = "network.io.direction"
PART: Final = "monitor.gpu.part"
ERROR_TYPE: Final = "error.type"
SENSOR: Final = "hw.sensor_location"

OTEL: Final = (
    _otel("hw.gpu.utilization", "1", "busy", TASK, "general"),
    _otel("hw.gpu.utilization", "1", "encoder", TASK, "encoder"),
    _otel("hw.gpu.utilization", "1", "decoder", TASK, "decoder"),
    _otel("monitor.gpu.active", "1", "engine_active", PART, "engine"),
    _otel("monitor.gpu.active", "1", "sm_active", PART, "sm"),
    _otel("monitor.gpu.active", "1", "tensor_active", PART, "tensor"),
    _otel("monitor.gpu.active", "1", "dram_active", PART, "dram"),
    _otel("monitor.gpu.memory.busy", "1", "memory_busy"),
    _otel("hw.gpu.memory.usage", "By", "memory_used_bytes", kind="level"),
    _otel("monitor.gpu.memory.free", "By", "memory_free_bytes", kind="level"),
    _otel("monitor.gpu.memory.reserved", "By", "memory_reserved_bytes", kind="level"),
    _otel("hw.gpu.memory.limit", "By", "memory_limit_bytes", kind="level"),
    _otel("hw.power", "W", "power_w"),
    _otel("monitor.gpu.power.limit", "W", "power_limit_w"),
    _otel("hw.energy", "J", "energy_j", kind="counter"),
    _otel("hw.temperature", "Cel", "temperature_c"),
    _otel("hw.temperature", "Cel", "memory_temperature_c", SENSOR, "memory"),
    _otel("monitor.gpu.clock", "Hz", "sm_clock_hz", PART, "sm"),
    _otel("monitor.gpu.clock", "Hz", "memory_clock_hz", PART, "memory"),
    _otel("monitor.gpu.throttle_reasons", "1", "throttle_reasons"),
    _otel("hw.errors", "{error}", "ecc_corrected", ERROR_TYPE, "corrected", kind="counter"),
    _otel("hw.errors", "{error}", "ecc_uncorrected", ERROR_TYPE, "uncorrected", kind="counter"),
    _otel("monitor.gpu.remapped_rows", "{row}", "remapped_rows_corrected", ERROR_TYPE, "corrected", kind="counter"),
    _otel("monitor.gpu.remapped_rows", "{row}", "remapped_rows_uncorrected", ERROR_TYPE, "uncorrected", kind="counter"),
    _otel("monitor.gpu.remap_failure", "1", "remap_failure"),
    _otel("monitor.gpu.xid", "1", "xid"),
    _otel("monitor.gpu.pcie.throughput", "By/s", "pcie_tx_bytes_per_s", DIRECTION, "transmit"),
    _otel("monitor.gpu.pcie.throughput", "By/s", "pcie_rx_bytes_per_s", DIRECTION, "receive"),
    _otel("monitor.gpu.pcie.replays", "{packet}", "pcie_replays", kind="counter"),
    _otel("hw.gpu.io", "By", "io_tx_bytes", DIRECTION, "transmit", kind="counter"),
    _otel("hw.gpu.io", "By", "io_rx_bytes", DIRECTION, "receive", kind="counter"),
    _otel("monitor.gpu.processes", "{process}", "processes", kind="level"),
)
# `hw.errors` with this before the number counts XID errors; `hw.status` has one point a state, 1 for the present one.
ERRORS: Final = "hw.errors"
XID_PREFIX: Final = "xid_"
STATUS: Final = "hw.status"
STATE: Final = "hw.state"
# Metrics of OpenTelemetry that other hardware has too: they count if they say `hw.type=gpu`, or name a GPU by its UUID.
SHARED: Final = ("hw.power", "hw.energy", "hw.temperature", ERRORS, STATUS)

# Percent and MiB, whole numbers; a reading that failed is 0 there, which nobody can tell from a real 0.
OPENLIT: Final = (
    Name(metric="gpu.utilization", column="busy", per=100.0),
    Name(metric="gpu.enc.utilization", column="encoder", per=100.0),
    Name(metric="gpu.dec.utilization", column="decoder", per=100.0),
    Name(metric="gpu.memory.used", column="memory_used_bytes", factor=MIB),
    Name(metric="gpu.memory.free", column="memory_free_bytes", factor=MIB),
    Name(metric="gpu.memory.total", column="memory_limit_bytes", factor=MIB),
    Name(metric="gpu.power.draw", column="power_w"),
    Name(metric="gpu.power.limit", column="power_limit_w"),
    Name(metric="gpu.temperature", column="temperature_c"),
)


def _dcgm(field: str, column: str, factor: float = 1.0, *, per: float = 1.0, whole_gpu: bool = True) -> Name:
    return Name(metric=f"DCGM_FI_{field}", column=column, factor=factor, per=per, whole_gpu=whole_gpu)


# NVLink's DCGM_FI_DEV_NVLINK_BANDWIDTH_TOTAL is not here: no document says its unit.
DCGM: Final = (
    _dcgm("DEV_GPU_UTIL", "busy", per=100.0),
    _dcgm("DEV_MEM_COPY_UTIL", "memory_busy", per=100.0),
    _dcgm("DEV_ENC_UTIL", "encoder", per=100.0),
    _dcgm("DEV_DEC_UTIL", "decoder", per=100.0),
    _dcgm("PROF_GR_ENGINE_ACTIVE", "engine_active", whole_gpu=False),
    _dcgm("PROF_SM_ACTIVE", "sm_active", whole_gpu=False),
    _dcgm("PROF_PIPE_TENSOR_ACTIVE", "tensor_active", whole_gpu=False),
    _dcgm("PROF_DRAM_ACTIVE", "dram_active", whole_gpu=False),
    _dcgm("DEV_FB_USED", "memory_used_bytes", MIB, whole_gpu=False),
    _dcgm("DEV_FB_FREE", "memory_free_bytes", MIB, whole_gpu=False),
    _dcgm("DEV_FB_RESERVED", "memory_reserved_bytes", MIB, whole_gpu=False),
    _dcgm("DEV_FB_TOTAL", "memory_limit_bytes", MIB, whole_gpu=False),
    _dcgm("DEV_POWER_USAGE", "power_w"),
    _dcgm("DEV_ENFORCED_POWER_LIMIT", "power_limit_w"),
    _dcgm("DEV_TOTAL_ENERGY_CONSUMPTION", "energy_j", per=1000.0),
    _dcgm("DEV_GPU_TEMP", "temperature_c"),
    _dcgm("DEV_MEMORY_TEMP", "memory_temperature_c"),
    _dcgm("DEV_SM_CLOCK", "sm_clock_hz", 1e6),
    _dcgm("DEV_MEM_CLOCK", "memory_clock_hz", 1e6),
    _dcgm("DEV_CLOCK_THROTTLE_REASONS", "throttle_reasons"),
    _dcgm("DEV_CLOCKS_EVENT_REASONS", "throttle_reasons"),
    _dcgm("DEV_ECC_SBE_VOL_TOTAL", "ecc_corrected"),
    _dcgm("DEV_ECC_DBE_VOL_TOTAL", "ecc_uncorrected"),
    _dcgm("DEV_CORRECTABLE_REMAPPED_ROWS", "remapped_rows_corrected"),
    _dcgm("DEV_UNCORRECTABLE_REMAPPED_ROWS", "remapped_rows_uncorrected"),
    _dcgm("DEV_ROW_REMAP_FAILURE", "remap_failure"),
    _dcgm("DEV_XID_ERRORS", "xid"),
    _dcgm("PROF_PCIE_TX_BYTES", "pcie_tx_bytes_per_s"),
    _dcgm("PROF_PCIE_RX_BYTES", "pcie_rx_bytes_per_s"),
    _dcgm("DEV_PCIE_REPLAY_COUNTER", "pcie_replays"),
)
# What DCGM prints for "no value", as it came (before the factor): from and to, both included, for 32-bit and 64-bit whole
# numbers and for floating point. (2^47 is a whole number that a 64-bit counter may pass through in one sample of years.)
DCGM_BLANKS: Final = (
    (2147483632.0, 2147483647.0),
    (140737488355328.0, 140737488355343.0),
    (9223372036854774784.0, 18446744073709551616.0),
)
# Labels of a DCGM page, and of what a Collector's prometheus receiver makes of it; the first that is there counts. A
# scrape that does not honor labels puts the pod that uses the GPU into `exported_pod`.
DCGM_UUID: Final = ("UUID", "uuid", "gpu_uuid")
DCGM_INDEX: Final = ("gpu",)
DCGM_MODEL: Final = ("modelName", "model_name")
DCGM_HOST: Final = ("hostname", "Hostname")
DCGM_INSTANCE: Final = "GPU_I_ID"
DCGM_PROFILE: Final = "GPU_I_PROFILE"
DCGM_POD: Final = ("exported_pod", "pod")
DCGM_NAMESPACE: Final = ("exported_namespace", "namespace")
# A host or pod of this name is the exporter's own pod: neither a node, nor what uses the GPU.
DCGM_EXPORTER: Final = "dcgm-exporter"

# Attributes of our data points.
ID: Final = "hw.id"
TYPE: Final = "hw.type"
MODEL: Final = "hw.model"
VENDOR: Final = "hw.vendor"
PARENT: Final = "hw.parent"
INDEX: Final = "gpu.index"
PROFILE: Final = "monitor.gpu.profile"
POD: Final = "k8s.pod.name"
NAMESPACE: Final = "k8s.namespace.name"


def is_blank(value: float) -> bool:
    """Whether DCGM means "no value" by this number, or it is none at all."""
    return value != value or any(low <= value <= high for low, high in DCGM_BLANKS) or value == float("-inf")
