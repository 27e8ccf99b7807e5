"""Readings by NVML: values and units, what a device cannot say, what goes wrong."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from collectors.gpu import nvml as nvml_module
from collectors.gpu.nvml import Nvml
from collectors.gpu.readings import Process, Reading, SourceAway
from tests.collectors.gpu import standin
from tests.collectors.gpu.conftest import MakeStandin
from tests.collectors.gpu.standin import H100, PLAIN
from tests.tools.service import ROOT

GPU0 = "GPU-aaaaaaaa-0000-0000-0000-000000000000"
GPU1 = "GPU-bbbbbbbb-0000-0000-0000-000000000000"
WHOLE = Reading(
    gpu=GPU0, index=0, model="NVIDIA H100 80GB HBM3", driver="580.65.06", status="ok",
    busy=0.97, memory_busy=0.41, encoder=0.03, decoder=0.05,
    memory_used_bytes=80_000_000_000.0, memory_limit_bytes=85_899_345_920.0,
    power_w=623.5, power_limit_w=700.0, energy_j=123_456.789, temperature_c=64, memory_temperature_c=71.0,
    sm_clock_hz=1.755e9, memory_clock_hz=2.619e9, throttle_reasons=4, ecc_corrected=2, ecc_uncorrected=0,
    remapped_rows_corrected=1, remapped_rows_uncorrected=0, remap_failure=0.0, xid=0,
    pcie_tx_bytes_per_s=1.2e6, pcie_rx_bytes_per_s=3.4e7, pcie_replays=6.0, io_tx_bytes=1_024_000.0, io_rx_bytes=2_048_000.0,
    processes=2, running=(Process(pid=4242, memory_bytes=79_000_000_000), Process(pid=4243, memory_bytes=None)),
)  # fmt: skip


def test_all_readings_in_base_units(gpus: MakeStandin, nvml: Nvml) -> None:
    gpus(H100 + PLAIN)
    whole, plain = nvml.read()
    assert whole == WHOLE
    # What it does not support, or may not say, is unknown; nothing is 0 that is not.
    assert plain.known() == {
        "gpu": GPU1, "index": 1, "model": "NVIDIA T400", "driver": "580.65.06", "status": "ok",
        "busy": 0.0, "memory_busy": 0.0, "memory_used_bytes": 1e8, "memory_limit_bytes": 2e9, "temperature_c": 35,
        "processes": 0,
    }  # fmt: skip


def test_an_old_driver_is_read_by_the_calls_it_has(make_standin: MakeStandin, tmp_path: Path) -> None:
    library = standin.build(tmp_path / "old", old_driver=True)
    code = (
        "import json; from collectors.gpu.nvml import Nvml; n = Nvml();"
        "print(json.dumps([r.known() for r in n.read()])); n.close()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=make_standin(H100).environment(library), capture_output=True,
        text=True, check=True,
    )  # fmt: skip
    assert json.loads(done.stdout) == json.loads(json.dumps([WHOLE.known()]))


def test_what_is_not_supported_is_asked_once(gpus: MakeStandin, nvml: Nvml) -> None:
    made = gpus(H100 + PLAIN)
    nvml.read()
    made.set(gpu1__encoder=50, gpu1__power__error=None, gpu1__power=9000, gpu1__field82=40, gpu0__utilization=10)
    whole, plain = nvml.read()
    assert (plain.encoder, plain.power_w, plain.memory_temperature_c) == (None, None, None)
    assert whole.busy == 0.10
    nvml.close()  # a new session asks again
    plain = nvml.read()[1]
    assert (plain.encoder, plain.power_w, plain.memory_temperature_c) == (0.5, 9.0, 40.0)


@pytest.mark.parametrize("code", [10, 20, 21, 27, 999])
def test_a_call_that_fails_for_now_is_asked_again(gpus: MakeStandin, nvml: Nvml, code: int) -> None:
    made = gpus(H100)
    made.set(gpu0__temperature__error=code)
    assert nvml.read()[0].temperature_c is None
    made.set(gpu0__temperature__error=None)
    assert nvml.read()[0] == WHOLE


@pytest.mark.parametrize("code", [15, 16])
def test_a_lost_gpu_is_a_failed_one_and_the_others_go_on(
    gpus: MakeStandin, nvml: Nvml, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = gpus(H100 + PLAIN)
    nvml.read()
    made.set(gpu0__lost=code)
    lost, plain = nvml.read()
    assert lost.known() == {
        "gpu": GPU0, "index": 0, "model": "NVIDIA H100 80GB HBM3", "driver": "580.65.06", "status": "failed",
    }  # fmt: skip
    assert plain.status == "ok"
    # In a new session it does not even say its UUID; it is known from the earlier one.
    nvml.close()
    assert nvml.read()[0] == lost
    made.set(gpu0__lost=None)
    assert nvml.read()[0].status == "failed"
    monkeypatch.setattr(nvml_module, "RENEW_S", -1.0)
    nvml.close()
    made.set(gpu0__lost=code)
    assert nvml.read()[0].status == "failed"
    made.set(gpu0__lost=None)
    assert nvml.read()[0] == WHOLE  # the session was begun anew by itself


@pytest.mark.parametrize(
    ("reasons", "remapped", "status"),
    [
        (0, "0 0 0 0", "ok"),
        (0x1 | 0x2 | 0x4 | 0x10 | 0x100, "9 0 0 0", "ok"),
        (0x8, "0 0 0 0", "degraded"),
        (0x20, "0 0 0 0", "degraded"),
        (0x40, "0 0 0 0", "degraded"),
        (0x80, "0 0 0 0", "degraded"),
        (0x40, "0 1 1 0", "predicted_failure"),
        (0, "0 9 0 1", "predicted_failure"),
    ],
)
def test_status(gpus: MakeStandin, nvml: Nvml, reasons: int, remapped: str, status: str) -> None:
    gpus(H100).set(gpu0__reasons=reasons, gpu0__remapped=remapped)
    assert nvml.read()[0].status == status


def test_mig_instances_have_their_own_memory_and_name_their_gpu(gpus: MakeStandin, nvml: Nvml) -> None:
    made = gpus(H100)
    assert len(nvml.read()) == 1
    made.set(
        gpu0__mig=1, gpu0__migs=7, gpu0__utilization=None,
        gpu0__mig1__uuid="MIG-1111", gpu0__mig1__name="NVIDIA H100 80GB HBM3 MIG 3g.40gb", gpu0__mig1__instance=2,
        gpu0__mig1__memory_total=42_000_000_000, gpu0__mig1__memory_free=2_000_000_000, gpu0__mig1__processes="77:1000",
        gpu0__mig5__uuid="MIG-5555", gpu0__mig5__name="NVIDIA H100 80GB HBM3 MIG 1g.10gb", gpu0__mig5__instance=9,
    )  # fmt: skip
    whole, first, second = nvml.read()
    assert (whole.gpu, whole.busy, whole.power_w) == (GPU0, None, 623.5)
    assert first == Reading(
        gpu="MIG-1111", index=0, model="NVIDIA H100 80GB HBM3", driver="580.65.06", parent=GPU0, instance=2,
        profile="3g.40gb", status="ok", memory_used_bytes=4e10, memory_limit_bytes=4.2e10, processes=1,
        running=(Process(pid=77, memory_bytes=1000),),
    )  # fmt: skip
    assert (second.gpu, second.profile, second.instance, second.memory_used_bytes) == ("MIG-5555", "1g.10gb", 9, None)
    # Back to a whole GPU: what was not supported meanwhile is.
    made.set(gpu0__mig=0, gpu0__utilization=97)
    assert nvml.read() == [WHOLE]


def test_xid_errors_are_counted_as_they_happen(gpus: MakeStandin, nvml: Nvml) -> None:
    made = gpus(H100 + PLAIN)
    assert [each.xid for each in nvml.read()] == [0, None]  # the second does not tell
    made.set(event1="0 13", event2="0 79", event3="0 13")
    deadline = time.monotonic() + 5
    while (reading := nvml.read()[0]).xid_errors != {13: 2, 79: 1}:
        assert time.monotonic() < deadline, reading
        time.sleep(0.02)
    assert reading.xid == 13
    nvml.close()
    assert nvml.read()[0].xid_errors == {13: 2, 79: 1}  # a new session forgets none and counts none twice


@pytest.mark.parametrize(
    ("code", "said"),
    [(9, "installed but not loaded"), (18, "was updated under this process"), (4, "permissions of /dev/nvidia"), (999, "does not answer")],
)  # fmt: skip
def test_a_driver_that_cannot_be_used(gpus: MakeStandin, nvml: Nvml, code: int, said: str) -> None:
    made = gpus(H100)
    made.set(init=code)
    with pytest.raises(SourceAway, match=said):
        nvml.read()
    made.set(init=0)
    assert nvml.read() == [WHOLE]


@pytest.mark.parametrize("broken", [{"uninitialized": 1}, {"gpu0__power__error": 18}, {"gpu0__name__error": 1}])
def test_a_driver_that_goes_away_ends_the_session_and_the_next_begins_anew(
    gpus: MakeStandin, nvml: Nvml, broken: dict[str, int]
) -> None:
    made = gpus(H100)
    if "gpu0__name__error" not in broken:
        nvml.read()
    made.set(**broken)
    for _ in range(2):
        with pytest.raises(SourceAway):
            nvml.read()
    made.set(**dict.fromkeys(broken))
    assert nvml.read() == [WHOLE]


def test_a_node_without_the_library_or_the_package() -> None:
    code = (
        "import sys; from collectors.gpu.nvml import Nvml; from collectors.gpu.readings import SourceAway\n"
        "if sys.argv[1] == 'package': sys.modules['pynvml'] = None\n"
        "try: Nvml().read()\n"
        "except SourceAway as error: print(error)\n"
    )
    for lacking, said in (
        ("library", "this node has no NVIDIA driver"),
        ("package", "pip install 'inference-monitor[gpu]'"),
    ):
        done = subprocess.run(
            [sys.executable, "-c", code, lacking], cwd=ROOT, capture_output=True, text=True, check=True,
            env={"LD_LIBRARY_PATH": "/nonexistent"},
        )  # fmt: skip
        assert said in done.stdout


def test_no_gpu_is_no_reading(gpus: MakeStandin, nvml: Nvml) -> None:
    gpus("driver=580.65.06")
    assert nvml.read() == []
