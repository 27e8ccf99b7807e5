"""Readings from a DCGM exporter's page: units, blanks, labels, MIG, and pages that are none."""

from __future__ import annotations

import dataclasses

import pytest

from collectors.gpu.dcgm import Dcgm, page_url, parse
from collectors.gpu.readings import Reading, SourceAway, merged
from monitor.errors import BadInput
from tests.collectors.gpu.conftest import PAGES, Page

MIB = 1024.0 * 1024.0
FIRST = Reading(
    gpu="GPU-6a3c0b2e-11f4-4b63-9a55-7f1c2d1be001", index=0, model="NVIDIA H100 80GB HBM3", node="gpu-7", driver="580.65.06",
    busy=0.97, memory_busy=0.41, encoder=0.0, decoder=0.0, engine_active=0.973214, tensor_active=0.41182,
    dram_active=0.602711, memory_used_bytes=70412 * MIB, memory_free_bytes=10203 * MIB, memory_reserved_bytes=624 * MIB,
    power_w=612.503, energy_j=91_823_746.551, temperature_c=64.0, memory_temperature_c=71.0, sm_clock_hz=1.755e9,
    memory_clock_hz=2.619e9, xid=0.0, pcie_replays=0.0, remapped_rows_corrected=0.0, remapped_rows_uncorrected=0.0,
    remap_failure=0.0, pcie_tx_bytes_per_s=1833011.0, pcie_rx_bytes_per_s=97863601.0,
)  # fmt: skip
SECOND = dataclasses.replace(
    FIRST, gpu="GPU-6a3c0b2e-11f4-4b63-9a55-7f1c2d1be002", index=1, busy=0.0, memory_busy=0.0, engine_active=0.0,
    tensor_active=0.0, dram_active=0.000007, memory_used_bytes=3 * MIB, memory_free_bytes=80612 * MIB, power_w=71.22,
    energy_j=5500.25, temperature_c=31.0, memory_temperature_c=None, sm_clock_hz=3.45e8, xid=43.0, pcie_replays=1.0,
    pcie_tx_bytes_per_s=0.0, pcie_rx_bytes_per_s=0.0,
)  # fmt: skip


def test_two_gpus(page: Page) -> None:
    page.recorded("two_gpus")
    assert Dcgm(page.url).read() == [FIRST, SECOND]
    assert page.asked == 1


def test_mig_instances_and_the_pods_that_use_them(page: Page) -> None:
    page.recorded("mig_kubernetes")
    uuid = "GPU-34319582-d595-d1c7-d1d2-179bcfa61660"
    common = {"index": 0, "model": "NVIDIA A100-SXM4-40GB", "node": "mig-node", "driver": "535.183.06"}
    assert {reading.gpu: reading.known() for reading in Dcgm(page.url).read()} == {
        uuid: {
            **common, "gpu": uuid, "sm_clock_hz": 1.41e9, "memory_clock_hz": 1.215e9, "memory_temperature_c": 52.0,
            "temperature_c": 48.0, "power_w": 203.551, "energy_j": 7_700_000.5, "xid": 0.0, "ecc_corrected": 3.0,
        },
        f"{uuid}/8": {
            **common, "gpu": f"{uuid}/8", "parent": uuid, "instance": 8, "profile": "1g.5gb", "engine_active": 0.0,
            "dram_active": 1e-06, "memory_used_bytes": 6 * MIB, "memory_free_bytes": 4857 * MIB,
        },
        f"{uuid}/1": {
            **common, "gpu": f"{uuid}/1", "parent": uuid, "instance": 1, "profile": "3g.20gb", "engine_active": 0.91442,
            "tensor_active": 0.5012, "dram_active": 0.3771, "memory_used_bytes": 17211 * MIB,
            "memory_free_bytes": 2745 * MIB, "pod": "llama-0", "namespace": "ml",
        },
    }  # fmt: skip


def test_blanks_are_unknown_and_lines_that_make_no_sense_are_passed_over(page: Page) -> None:
    page.recorded("blanks")
    (reading,) = Dcgm(page.url).read()
    assert reading.known() == {
        "gpu": "GPU-0781f3bb-da15-f334-d5db-37b3f19542d0", "index": 0, "model": 'Tesla "T4" \\ {x} a=b, c',
        "driver": "535.183.06", "pod": "chat-1", "namespace": "default", "busy": 0.55, "temperature_c": 61.0,
        "sm_clock_hz": 1.365e9,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("metric", "value", "status"),
    [
        ("DEV_CLOCKS_EVENT_REASONS", 0x40, "degraded"),
        ("DEV_CLOCK_THROTTLE_REASONS", 0x5, "ok"),
        ("DEV_ROW_REMAP_FAILURE", 1, "predicted_failure"),
        ("DEV_ROW_REMAP_FAILURE", 0, ""),
    ],
)
def test_status_as_far_as_the_page_tells(metric: str, value: int, status: str) -> None:
    assert [each.status for each in parse(f'DCGM_FI_{metric}{{gpu="0",UUID="GPU-x"}} {value}')] == [status]


def test_a_changed_xid_counts_once(page: Page) -> None:
    page.recorded("two_gpus")
    dcgm = Dcgm(page.url)
    uuid = SECOND.gpu
    said = f'DCGM_FI_DEV_XID_ERRORS{{gpu="1",UUID="{uuid}"}} %d\n'
    seen = []
    for number in (43, 43, 79, 79, 0, 43):
        page.text = said % number
        seen.append(dcgm.read()[0].xid_errors)
    # The first was there before we were.
    assert seen == [{}, {}, {79: 1}, {79: 1}, {79: 1}, {79: 1, 43: 1}]


@pytest.mark.parametrize(
    ("text", "status", "said"),
    [
        ("<html>nginx</html>", 200, "is not a DCGM exporter's"),
        ("", 200, "is not a DCGM exporter's"),
        ("# HELP DCGM_FI_DEV_GPU_UTIL x\n", 200, "has no GPU on it"),
        ("x", 503, "answers 503 Service Unavailable"),
    ],
)
def test_pages_that_are_none(page: Page, text: str, status: int, said: str) -> None:
    page.text, page.status = text, status
    with pytest.raises(SourceAway, match=said) as caught:
        Dcgm(page.url).read()
    assert page.url in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_exporter_that_is_away_or_hangs(page: Page) -> None:
    page.release.clear()
    with pytest.raises(SourceAway, match=r"does not answer \(timed out\)"):
        Dcgm(page.url, timeout_s=0.1).read()
    with pytest.raises(SourceAway, match=r"does not answer .*refused"):
        Dcgm("http://127.0.0.1:9").read()


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("gpu-7:9400", "http://gpu-7:9400/metrics"),
        ("http://gpu-7:9400/", "http://gpu-7:9400/metrics"),
        ("https://gpu-7/dcgm?x=1", "https://gpu-7/dcgm?x=1"),
    ],
)
def test_addresses(given: str, meant: str) -> None:
    assert page_url(given) == meant


@pytest.mark.parametrize("given", ["", "ftp://x", "http://:9400", "gpu-7:port", "gpu-7:99999"])
def test_addresses_that_are_none(given: str) -> None:
    with pytest.raises(BadInput, match="wanted http://host:9400/metrics"):
        page_url(given)


def test_two_sources_make_one_reading_a_device() -> None:
    ours = Reading(gpu=FIRST.gpu, index=0, busy=0.5, status="degraded", xid_errors={13: 1})
    slice_of_ours = Reading(gpu="MIG-1", parent="GPU-x", instance=1, memory_used_bytes=5.0)
    theirs = Reading(gpu="GPU-x/1", parent="GPU-x", instance=1, engine_active=0.4, pod="p", memory_used_bytes=4.0)
    assert merged([ours, slice_of_ours], [FIRST, theirs, SECOND]) == (
        dataclasses.replace(FIRST, busy=0.5, status="degraded", xid_errors={13: 1}),
        SECOND,
        dataclasses.replace(slice_of_ours, engine_active=0.4, pod="p"),
    )


def test_a_page_of_ten_thousand_other_metrics_is_read_quickly() -> None:
    text = (PAGES / "two_gpus.txt").read_text()
    others = "".join(f'other_metric{{le="{n}"}} {n}\n' for n in range(10_000))
    assert parse(others + text + others) == [FIRST, SECOND]
