"""One reading per device: what any source of GPU readings gives, in base units."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from monitor import gpu_semconv
from monitor.errors import Retryable


class SourceAway(Retryable):
    """A source of readings does not answer; the message says which, why, and what to do."""


@dataclass(frozen=True, kw_only=True)
class Process:
    """A compute process on a GPU. `pid` is the host's; `memory_bytes` is None where the driver does not say."""

    pid: int
    memory_bytes: int | None


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What one GPU, or one MIG instance of it, said at one time; None or empty is unknown, never 0.

    The numbers are the columns of `monitor.gpu_semconv.COLUMNS`: fractions (0 to 1), bytes, W, J, degrees Celsius, Hz.

    Parameters
    ----------
    gpu : str
        UUID. A MIG instance that only DCGM told of has none: `<UUID of its GPU>/<number of the GPU instance>`.
    index : int or None
        Number of the GPU on its node; it can change when the node starts again.
    parent, instance, profile : str, int or None, str
        Of a MIG instance: UUID of its GPU, number of the GPU instance, profile such as `1g.10gb`.
    node : str
        Name of the node, if the source names it (DCGM does).
    pod, namespace : str
        Kubernetes pod that uses it, if the source names it.
    status : str
        One of `monitor.gpu_semconv.STATES`; empty if unknown.
    xid_errors : mapping of int to int
        XID errors seen since the collector started, by number.
    """

    gpu: str
    index: int | None = None
    model: str = ""
    parent: str = ""
    instance: int | None = None
    profile: str = ""
    node: str = ""
    pod: str = ""
    namespace: str = ""
    driver: str = ""
    status: str = ""
    busy: float | None = None
    engine_active: float | None = None
    sm_active: float | None = None
    tensor_active: float | None = None
    dram_active: float | None = None
    memory_busy: float | None = None
    encoder: float | None = None
    decoder: float | None = None
    memory_used_bytes: float | None = None
    memory_free_bytes: float | None = None
    memory_reserved_bytes: float | None = None
    memory_limit_bytes: float | None = None
    power_w: float | None = None
    power_limit_w: float | None = None
    energy_j: float | None = None
    temperature_c: float | None = None
    memory_temperature_c: float | None = None
    sm_clock_hz: float | None = None
    memory_clock_hz: float | None = None
    throttle_reasons: float | None = None
    ecc_corrected: float | None = None
    ecc_uncorrected: float | None = None
    remapped_rows_corrected: float | None = None
    remapped_rows_uncorrected: float | None = None
    remap_failure: float | None = None
    xid: float | None = None
    pcie_tx_bytes_per_s: float | None = None
    pcie_rx_bytes_per_s: float | None = None
    pcie_replays: float | None = None
    io_tx_bytes: float | None = None
    io_rx_bytes: float | None = None
    processes: float | None = None
    xid_errors: Mapping[int, int] = field(default_factory=dict)
    running: tuple[Process, ...] = ()

    @property
    def slot(self) -> tuple[str, int | None]:
        """The same for one device whichever source it was read from: UUID of the GPU, number of the GPU instance."""
        return self.parent or self.gpu, self.instance

    def known(self) -> dict[str, Any]:
        """What is known, for people and JSON; names as here."""
        whole = dataclasses.asdict(self)
        return {name: value for name, value in whole.items() if value not in (None, "", (), {})}


@dataclass(frozen=True, kw_only=True)
class Sample:
    """Readings of all devices at one time, in ns since 1970 UTC."""

    time_ns: int
    readings: tuple[Reading, ...]


_ALWAYS: Final = frozenset({"gpu", "index", "parent", "instance"})
_FIELDS: Final = tuple(each for each in dataclasses.fields(Reading) if each.name not in _ALWAYS)


def merged(first: Iterable[Reading], second: Iterable[Reading]) -> tuple[Reading, ...]:
    """Readings of two sources, one for each device: what `first` does not know of a device is taken from `second`."""
    found = {reading.slot: reading for reading in first}
    for other in second:
        mine = found.get(other.slot)
        if mine is None:
            found[other.slot] = other
            continue
        lacking = {
            each.name: getattr(other, each.name)
            for each in _FIELDS
            if getattr(mine, each.name) in (None, "", (), {}) and getattr(other, each.name) not in (None, "", (), {})
        }
        found[other.slot] = dataclasses.replace(mine, **lacking)
    return tuple(found[slot] for slot in sorted(found, key=lambda slot: (slot[0], -1 if slot[1] is None else slot[1])))


class XidErrors:
    """XID errors since the collector started, and the last one of each GPU. Its callers take turns."""

    def __init__(self) -> None:
        self._counts: dict[str, Counter[int]] = {}
        self._last: dict[str, int] = {}

    def add(self, gpu: str, number: int) -> None:
        self._counts.setdefault(gpu, Counter())[number] += 1
        self._last[gpu] = number

    def last(self, gpu: str) -> int | None:
        return self._last.get(gpu)

    def counts(self, gpu: str) -> dict[int, int]:
        return dict(self._counts.get(gpu, {}))


def status_of(*, failed: bool = False, remap: bool = False, throttle_reasons: float | None = None) -> str:
    """The state of a device that answers (or does not: `failed`); `remap` is a row that waits to be, or could not be, replaced."""
    if failed:
        return "failed"
    if remap:
        return "predicted_failure"
    if throttle_reasons is None:
        return "ok"
    return "degraded" if int(throttle_reasons) & gpu_semconv.THROTTLED else "ok"
