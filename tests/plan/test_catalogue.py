"""The catalogue file: what it says, and what is said of a wrong one."""

from __future__ import annotations

from pathlib import Path

import pytest

from monitor.errors import BadInput
from monitor.plan import choose_model, read_catalogue

GOOD = """\
as_of: 2026-01-31
engines:
  - model: org/Model-7B
    gpu: G
    gpus: 2
    prefill_tokens_per_s: 8000
    tpot_s: 0.02
    decode_tokens_per_s: 1600
    concurrency: 64
    source: load test
    as_of: 2026-01-02
offers:
  - name: own
    kind: owned
    gpu: G
    gpus: 8
    capex_usd: 240000
    residual_usd: 40000
    years: 4
    power_kw: 10
    pue: 1.5
    usd_per_kwh: 0.2
    staff_usd_per_month: 1500
    source: quotation
    as_of: 2026-01-03
  - name: by the second
    kind: serverless
    gpu: G
    gpus: 4
    price: 0.001
    unit: gpu_second
    start_s: 20
    idle_s: 60
    source: list price
    as_of: 2026-01-04
  - name: by the instance
    kind: spot
    gpu: G
    gpus: 4
    price: 8
    unit: instance_hour
    interruptions_per_hour: 0.1
    notice_s: 30
    units_max: 3
    source: list price
    as_of: 2026-01-04
  - name: api
    kind: per_token
    model: org/Model-7B
    input: 0.5
    output: 1.5
    unit: million_tokens
    ttft_p50_s: 0.5
    ttft_p95_s: 1.5
    source: list price
    as_of: 2026-01-05
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "offers.yaml"
    path.write_text(text)
    return path


def test_what_it_says(tmp_path: Path) -> None:
    found = read_catalogue(written(tmp_path, GOOD))
    (engine,) = found.engines
    assert (engine.gpus, engine.concurrency, engine.source, engine.as_of) == (2, 64, "load test", "2026-01-02")
    own, second, instance, api = found.offers
    assert own.usd_per_hour == pytest.approx((200_000 / 48 + 1500) / 730.5 + 10 * 1.5 * 0.2)
    assert second.usd_per_hour == pytest.approx(0.001 * 3600 * 4)
    assert (second.start_s, second.idle_s) == (20, 60)
    assert instance.usd_per_hour == 8
    assert (instance.interruptions_per_hour, instance.notice_s, instance.units_max) == (0.1, 30, 3)
    assert (api.usd_per_million_input, api.usd_per_million_output, api.ttft_p95_s) == (0.5, 1.5, 1.5)
    assert api.as_of == "2026-01-05"
    assert found.as_of == "2026-01-31"


def test_the_packaged_one_has_every_kind_with_source_and_day() -> None:
    found = read_catalogue()
    kinds = {offer.kind for offer in found.offers}
    assert kinds == {"owned", "reserved", "on_demand", "spot", "serverless", "per_token"}
    assert all(each.source and each.as_of for each in (*found.offers, *found.engines))
    for model in found.models:
        part = found.only(model=model)
        assert part.engines
        assert any(offer.kind == "per_token" for offer in part.offers)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("concurrency: 64", "concurency: 64", "line 9: unknown key `engines.0.concurency`; did you mean `concurrency`?"),
        ("    tpot_s: 0.02\n", "", "line 3: `engines.0.tpot_s` is missing"),
        ("price: 8", "price: cheap", "line 40: `offers.2.price`: input should be a valid number"),
        ("price: 8", "price: -8", "line 40: `offers.2.price`: input should be greater than or equal to 0, not -8"),
        ("kind: spot", "kind: sport", "line 36: `offers.2.kind` is one of owned, reserved"),
        ("unit: gpu_second", "unit: gpu_minute", "line 31: `offers.1.unit`"),
        ("pue: 1.5", "pue: 0.5", "line 21: `offers.0.pue`"),
        ("decode_tokens_per_s: 1600", "decode_tokens_per_s: 5000", "line 3: decode_tokens_per_s of org/Model-7B on G is 5000"),
        ("ttft_p95_s: 1.5", "ttft_p95_s: 0.1", "the offer api needs 0 < ttft_p50_s <= ttft_p95_s"),
        ("name: api", "name: own", "the name `own` is given twice"),
        ("as_of: 2026-01-31", "as_of: someday", "line 1: `as_of`"),
        ("as_of: 2026-01-31", "as_of: 2026-01-31\nplanes: 3", "line 2: unknown key `planes`"),
        ("    source: quotation\n", "", "`offers.0.source` is missing"),
        ("engines:", "engines: [", "line"),
        ("price: 8", "price: .nan", "`offers.2.price`"),
        ("price: 8", "price: .inf", "`offers.2.price`"),
        ("as_of: 2026-01-31", "as_of: 2026-02-30", "day"),
    ],
)  # fmt: skip
def test_wrong_files_are_said_with_their_line(tmp_path: Path, old: str, new: str, said: str) -> None:
    assert old in GOOD
    path = written(tmp_path, GOOD.replace(old, new, 1))
    with pytest.raises(BadInput) as caught:
        read_catalogue(path)
    assert said in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "- a\n", "as_of: 2026-01-01\noffers: []\n", "a: b: c", "7"])
def test_files_that_are_no_catalogue(tmp_path: Path, text: str) -> None:
    with pytest.raises(BadInput, match=r"offers\.yaml"):
        read_catalogue(written(tmp_path, text))


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="--catalogue"):
        read_catalogue(tmp_path / "none.yaml")
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadInput, match="UTF-8"):
        read_catalogue(tmp_path / "bytes.yaml")


def test_models_are_found_by_their_plain_name(tmp_path: Path) -> None:
    found = read_catalogue(written(tmp_path, GOOD))
    assert choose_model(found, "", {}) == "org/Model-7B"
    assert choose_model(found, "other/model-7b", {}) == "org/Model-7B"
    with pytest.raises(BadInput, match="did you mean `org/Model-7B`"):
        choose_model(found, "modl-7b", {})
    packaged = read_catalogue()
    assert choose_model(packaged, "", {"gpt": 9.0, "meta-llama/Llama-3.1-8B-Instruct": 3.0}) == "llama-3.1-8b-instruct"
    with pytest.raises(BadInput, match="--model"):
        choose_model(packaged, "", {"gpt": 9.0})
