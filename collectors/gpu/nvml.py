"""Readings by NVML, through nvidia-ml-py.

Any call may fail, for one device, for one driver, or for now. What a device does not support is asked once; a lost
device is a reading that says so; only what concerns the driver as a whole ends the session (`SourceAway`), and the next
`read` begins a new one.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, Final, TypeVar

from collectors.gpu.readings import Process, Reading, SourceAway, XidErrors, status_of

logger = logging.getLogger(__name__)

T = TypeVar("T")

# Codes of NVMLError.
UNINITIALIZED, NOT_SUPPORTED, NO_PERMISSION, NOT_FOUND, DRIVER_NOT_LOADED, TIMEOUT = 1, 3, 4, 6, 9, 10
LIBRARY_NOT_FOUND, FUNCTION_NOT_FOUND, GPU_IS_LOST, RESET_REQUIRED, VERSION_MISMATCH = 12, 13, 15, 16, 18
ARGUMENT_VERSION_MISMATCH, DEPRECATED = 25, 26
_NEVER: Final = frozenset({NOT_SUPPORTED, NO_PERMISSION, FUNCTION_NOT_FOUND, ARGUMENT_VERSION_MISMATCH, DEPRECATED})
_LOST: Final = frozenset({GPU_IS_LOST, RESET_REQUIRED})
_ENDED: Final = frozenset({UNINITIALIZED, DRIVER_NOT_LOADED, VERSION_MISMATCH})

ALL_LINKS: Final = 0xFFFFFFFF
MEMORY_TEMPERATURE, PCIE_REPLAYS, NVLINK_TX_KIB, NVLINK_RX_KIB = 82, 94, 138, 139
XID_EVENT: Final = 0x8
NO_INSTANCE: Final = 0xFFFFFFFF
RENEW_S: Final = 60.0  # age at which a session with a lost device is begun anew

_WORDS: Final = {
    LIBRARY_NOT_FOUND: "this node has no NVIDIA driver (libnvidia-ml.so.1 is not there)",
    DRIVER_NOT_LOADED: "the NVIDIA driver is installed but not loaded; see `nvidia-smi`",
    VERSION_MISMATCH: "the NVIDIA driver was updated under this process; start it again (and the node, if `nvidia-smi` fails too)",
    NO_PERMISSION: "this user may not talk to the NVIDIA driver; look at the permissions of /dev/nvidia*",
}


class _Lost(Exception):
    """The device does not answer any more."""


@dataclass
class _Device:
    """One GPU or MIG instance of the present session."""

    handle: Any
    gpu: str
    index: int
    model: str
    parent: str = ""
    instance: int | None = None
    profile: str = ""
    # Calls and fields that it does not support; they are not asked again.
    never: set[str] = field(default_factory=set)
    mig: bool = False


class Nvml:
    """The node's GPUs. `read` and `close` may be called by any one thread at a time."""

    def __init__(self, xids: XidErrors | None = None) -> None:
        self._nvml: ModuleType | None = None
        self._devices: list[_Device] = []
        self._known: dict[int, _Device] = {}
        self._driver = ""
        self._xids = xids if xids is not None else XidErrors()
        self._watch: _XidWatch | None = None
        self._pool: ThreadPoolExecutor | None = None
        self._renew_at_s = 0.0

    def read(self) -> list[Reading]:
        """Read every device and MIG instance once; begins a session if there is none.

        Raises
        ------
        SourceAway
            If NVML does not answer: no driver, driver away, package missing. The session has ended then.
        """
        self._open()
        assert self._pool is not None, "an open session has its threads"
        self._count_xids()
        try:
            # At once: reading PCIe throughput takes 40 ms for each GPU, whatever else is asked.
            rows = list(self._pool.map(self._read_gpu, self._devices))
        except SourceAway:
            self.close()
            raise
        readings = [reading for row in rows for reading in row]
        if any(each.status == "failed" for each in readings) and time.monotonic() > self._renew_at_s:
            self.close()  # a device that was reset answers in a new session only
        return readings

    def close(self) -> None:
        """End the session; a later `read` begins another."""
        if self._watch is not None:
            self._watch.close()
            self._watch = None
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None
        if self._nvml is not None:
            with contextlib.suppress(Exception):  # a driver that has gone cannot be said goodbye to
                self._nvml.nvmlShutdown()
            self._nvml = None
        self._devices = []

    def _open(self) -> None:
        if self._nvml is not None:
            return
        try:
            import pynvml
        except ImportError:
            raise SourceAway(
                "NVML cannot be read: nvidia-ml-py is not installed; run `pip install 'inference-monitor[gpu]'`"
            ) from None
        try:
            pynvml.nvmlInit()
        except pynvml.NVMLError as error:
            raise _away(error) from None
        self._nvml = pynvml
        try:
            self._driver = self._try(pynvml.nvmlSystemGetDriverVersion) or ""
            count = int(pynvml.nvmlDeviceGetCount())
            self._devices = [device for index in range(count) if (device := self._device(index)) is not None]
            self._pool = ThreadPoolExecutor(max_workers=max(1, min(16, count)), thread_name_prefix="gpu")
            self._watch = _XidWatch(pynvml, self._devices)
            self._renew_at_s = time.monotonic() + RENEW_S
        except pynvml.NVMLError as error:
            self.close()
            raise _away(error) from None
        except SourceAway:
            self.close()
            raise

    def _device(self, index: int) -> _Device | None:
        """The GPU of this number; one that is lost already is known by what an earlier session saw, or not at all."""
        assert self._nvml is not None
        try:
            handle = self._nvml.nvmlDeviceGetHandleByIndex(index)
            device = _Device(
                handle=handle,
                gpu=str(self._nvml.nvmlDeviceGetUUID(handle)),
                index=index,
                model=self._try(self._nvml.nvmlDeviceGetName, handle) or "",
            )
        except self._nvml.NVMLError as error:
            if error.value in _ENDED:
                raise
            earlier = self._known.get(index)
            if earlier is None:
                logger.warning("GPU %d does not say its UUID (%s), so it is left out", index, error)
                return None
            return _Device(handle=None, gpu=earlier.gpu, index=index, model=earlier.model)
        self._known[index] = device
        return device

    def _try(self, call: Callable[..., T], *arguments: Any) -> T | None:
        """What a call says that matters to no reading; None if it fails."""
        assert self._nvml is not None
        try:
            return call(*arguments)
        except self._nvml.NVMLError as error:
            if error.value in _ENDED:
                raise _away(error) from None
            return None

    def _ask(self, device: _Device, name: str, *arguments: Any) -> Any:
        """What the getter `nvmlDeviceGet<name>` says of a device; None if it cannot.

        Raises
        ------
        _Lost
            If the device does not answer any more.
        SourceAway
            If the driver does not.
        """
        assert self._nvml is not None
        # Some getters are asked for several things, of which each may be supported or not.
        key = f"{name}{arguments}"
        if key in device.never:
            return None
        try:
            return getattr(self._nvml, f"nvmlDeviceGet{name}")(device.handle, *arguments)
        except self._nvml.NVMLError as error:
            if error.value in _ENDED:
                raise _away(error) from None
            if error.value in _LOST:
                raise _Lost from None
            if error.value in _NEVER:
                device.never.add(key)
            return None

    def _read_gpu(self, device: _Device) -> list[Reading]:
        """The GPU, then its MIG instances."""
        try:
            if device.handle is None:
                raise _Lost
            return [self._whole(device), *(self._instance(each) for each in self._instances(device))]
        except _Lost:
            return [
                Reading(
                    gpu=device.gpu, index=device.index, model=device.model, driver=self._driver,
                    status=status_of(failed=True), xid=self._xids.last(device.gpu),
                    xid_errors=self._xids.counts(device.gpu),
                )
            ]  # fmt: skip

    def _whole(self, device: _Device) -> Reading:
        ask = self._ask
        if device.handle is None:
            raise _Lost
        mode = ask(device, "MigMode")
        if (mig := bool(mode and mode[0] == 1)) != device.mig:
            # What is supported depends on it: a GPU that was cut into instances has no utilization of its own.
            device.never.clear()
            device.mig = mig
        utilization = ask(device, "UtilizationRates")
        used, total = self._memory(device)
        encoder, decoder = ask(device, "EncoderUtilization"), ask(device, "DecoderUtilization")
        reasons = _first(ask(device, "CurrentClocksEventReasons"), lambda: ask(device, "CurrentClocksThrottleReasons"))
        rows = ask(device, "RemappedRows")
        running = self._processes(device)
        fields = self._fields(device)
        watched = self._watch is not None and device.gpu in self._watch.gpus
        return Reading(
            gpu=device.gpu, index=device.index, model=device.model, driver=self._driver,
            status=status_of(remap=rows is not None and (rows[2] > 0 or rows[3] > 0), throttle_reasons=reasons),
            busy=None if utilization is None else utilization.gpu / 100,
            memory_busy=None if utilization is None else utilization.memory / 100,
            encoder=None if encoder is None else encoder[0] / 100,
            decoder=None if decoder is None else decoder[0] / 100,
            memory_used_bytes=used, memory_limit_bytes=total,
            power_w=_scaled(ask(device, "PowerUsage"), per=1000),
            power_limit_w=_scaled(ask(device, "EnforcedPowerLimit"), per=1000),
            energy_j=_scaled(ask(device, "TotalEnergyConsumption"), per=1000),
            temperature_c=_scaled(_first(ask(device, "TemperatureV", 0), lambda: ask(device, "Temperature", 0)), 1),
            memory_temperature_c=_scaled(fields[MEMORY_TEMPERATURE], 1),
            sm_clock_hz=_scaled(ask(device, "ClockInfo", 1), 1e6),
            memory_clock_hz=_scaled(ask(device, "ClockInfo", 2), 1e6),
            throttle_reasons=reasons,
            ecc_corrected=ask(device, "TotalEccErrors", 0, 0),
            ecc_uncorrected=ask(device, "TotalEccErrors", 1, 0),
            remapped_rows_corrected=None if rows is None else rows[0],
            remapped_rows_uncorrected=None if rows is None else rows[1],
            remap_failure=None if rows is None else float(rows[3] > 0),
            xid=_first(self._xids.last(device.gpu), lambda: 0 if watched else None),
            xid_errors=self._xids.counts(device.gpu),
            pcie_tx_bytes_per_s=_scaled(ask(device, "PcieThroughput", 0), 1e3),
            pcie_rx_bytes_per_s=_scaled(ask(device, "PcieThroughput", 1), 1e3),
            pcie_replays=fields[PCIE_REPLAYS],
            io_tx_bytes=_scaled(fields[NVLINK_TX_KIB], 1024),
            io_rx_bytes=_scaled(fields[NVLINK_RX_KIB], 1024),
            processes=None if running is None else len(running),
            running=tuple(running or ()),
        )  # fmt: skip

    def _instances(self, device: _Device) -> list[_Device]:
        if not device.mig:
            return []
        assert self._nvml is not None
        found = []
        for slot in range(self._ask(device, "MaxMigDeviceCount") or 0):
            handle = self._ask(device, "MigDeviceHandleByIndex", slot)  # an empty slot is NOT_FOUND
            if handle is None:
                continue
            child = _Device(handle=handle, gpu="", index=device.index, model="", parent=device.gpu)
            child.gpu = self._ask(child, "UUID") or ""
            name = self._ask(child, "Name") or device.model
            child.model, _, child.profile = name.partition(" MIG ")
            number = self._ask(child, "GpuInstanceId")
            child.instance = None if number in (None, NO_INSTANCE) else int(number)
            if child.gpu:
                found.append(child)
        return found

    def _instance(self, device: _Device) -> Reading:
        """What is known of an instance by itself; its GPU has power and temperature, DCGM its utilization."""
        used, total = self._memory(device)
        running = self._processes(device)
        return Reading(
            gpu=device.gpu, index=device.index, model=device.model, driver=self._driver, parent=device.parent,
            instance=device.instance, profile=device.profile, status=status_of(),
            memory_used_bytes=used, memory_limit_bytes=total,
            processes=None if running is None else len(running), running=tuple(running or ()),
        )  # fmt: skip

    def _memory(self, device: _Device) -> tuple[float | None, float | None]:
        """Used and total bytes. Drivers differ in whether `used` holds what they reserve: what is not free is used."""
        version = getattr(self._nvml, "nvmlMemory_v2", None)
        info = _first(self._ask(device, "MemoryInfo", version), lambda: self._ask(device, "MemoryInfo"))
        return (None, None) if info is None else (float(info.total - info.free), float(info.total))

    def _processes(self, device: _Device) -> list[Process] | None:
        """Compute processes; drivers of before 2022 know the call by another version."""
        rows = _first(
            self._ask(device, "ComputeRunningProcesses_v3"), lambda: self._ask(device, "ComputeRunningProcesses_v2")
        )
        if rows is None:
            return None
        return [Process(pid=int(row.pid), memory_bytes=row.usedGpuMemory) for row in rows]

    def _fields(self, device: _Device) -> dict[int, float | None]:
        """Values by number of the field."""
        wanted: list[tuple[int, int]] = [
            (number, scope)
            for number, scope in (
                (MEMORY_TEMPERATURE, 0), (PCIE_REPLAYS, 0), (NVLINK_TX_KIB, ALL_LINKS), (NVLINK_RX_KIB, ALL_LINKS),
            )
            if f"field {number}" not in device.never
        ]  # fmt: skip
        found: dict[int, float | None] = dict.fromkeys((MEMORY_TEMPERATURE, PCIE_REPLAYS, NVLINK_TX_KIB, NVLINK_RX_KIB))
        rows: Sequence[Any] = self._ask(device, "FieldValues", wanted) or () if wanted else ()
        for row in rows:
            code = int(row.nvmlReturn)
            if code == 0:
                found[int(row.fieldId)] = _field_value(row)
            elif code in _NEVER:
                device.never.add(f"field {int(row.fieldId)}")
            elif code in _LOST:
                raise _Lost
        return found

    def _count_xids(self) -> None:
        if self._watch is not None:
            for gpu, number in self._watch.taken():
                self._xids.add(gpu, number)


_VALUE_TYPES: Final = ("dVal", "uiVal", "ulVal", "ullVal", "sllVal", "siVal", "usVal")


def _field_value(row: Any) -> float | None:
    kind = int(row.valueType)
    return float(getattr(row.value, _VALUE_TYPES[kind])) if kind < len(_VALUE_TYPES) else None


def _scaled(value: float | None, factor: float = 1, *, per: float = 1) -> float | None:
    return None if value is None else value * factor / per


def _first(value: T | None, otherwise: Callable[[], T | None]) -> T | None:
    return value if value is not None else otherwise()


def _away(error: Any) -> SourceAway:
    words = _WORDS.get(int(error.value), f"NVML does not answer ({error}); see `nvidia-smi`")
    return SourceAway(words)


class _XidWatch:
    """Waits for XID errors of some devices in a thread of its own: NVML tells them as events, and once."""

    def __init__(self, nvml: ModuleType, devices: Sequence[_Device]) -> None:
        self._nvml = nvml
        self._lock = threading.Lock()
        self._seen: list[tuple[str, int]] = []
        self._stop = threading.Event()
        self._by_handle: dict[int | None, str] = {}
        self._thread: threading.Thread | None = None
        self.gpus: frozenset[str] = frozenset()
        try:
            self._events = nvml.nvmlEventSetCreate()
        except nvml.NVMLError as error:
            logger.info("XID errors are not watched: %s", error)
            return
        for device in devices:
            if device.handle is not None:
                with contextlib.suppress(nvml.NVMLError):  # not supported by this device
                    nvml.nvmlDeviceRegisterEvents(device.handle, XID_EVENT, self._events)
                    self._by_handle[_pointer(device.handle)] = device.gpu
        self.gpus = frozenset(self._by_handle.values())
        if self.gpus:
            self._thread = threading.Thread(target=self._run, name="gpu-xid", daemon=True)
            self._thread.start()

    def taken(self) -> list[tuple[str, int]]:
        """UUID and number of each error since the last call."""
        with self._lock:
            seen, self._seen = self._seen, []
        return seen

    def close(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            with contextlib.suppress(self._nvml.NVMLError):
                self._nvml.nvmlEventSetFree(self._events)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                event = self._nvml.nvmlEventSetWait_v2(self._events, 200)
            except self._nvml.NVMLError as error:
                if error.value in _ENDED:
                    return  # the reader will notice as well, and begin anew
                if error.value != TIMEOUT:
                    self._stop.wait(
                        1.0
                    )  # a lost device fails at once each time; others may still have something to say
                continue
            gpu = self._by_handle.get(_pointer(event.device))
            if gpu is not None and event.eventType & XID_EVENT:
                with self._lock:
                    self._seen.append((gpu, int(event.eventData)))


def _pointer(handle: Any) -> int | None:
    return ctypes.cast(handle, ctypes.c_void_p).value
