"""`monitor plan` as its user meets it: with a stated usage and nothing else, and on a store with a real trace."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from collectors.simulate.history import load_history
from collectors.simulate.workload import NS, azure_trace
from monitor.cli import app, commands
from monitor.errors import MonitorError
from tests.cli.test_cli import failure, run
from tests.tools.service import Service, running

assert commands  # importing it registers them
STATED = ("plan", "--requests-per-day", "50000", "--input-tokens", "1000", "--output-tokens", "200")
MODEL = ("--model", "llama-3.3-70b-instruct")
WIDE = {"COLUMNS": "220", "TERM": "dumb"}


def answer(*arguments: str, cwd: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run(*arguments, "--json", cwd=cwd).stdout)
    return found


def test_stated_usage_needs_no_store(tmp_path: Path) -> None:
    found = answer(*STATED, *MODEL, "--peak", "3", "--hours", "12", cwd=tmp_path)
    assert found["load"]["source"] == "stated"
    assert found["load"]["requests_per_day"] == pytest.approx(50_000)
    assert found["load"]["peak_factor"] == pytest.approx(6)
    assert found["chosen"] == found["plans"][0]["name"]
    usd = found["plans"][0]["usd"]
    assert usd["low"] < usd["value"] < usd["high"]
    api = next(plan for plan in found["plans"] if plan["kinds"] == ["per_token"])
    # 50,000 x 1,200 tokens x 30.4375 days at $0.72 a million, within the 20 % that a statement is trusted to.
    assert api["usd"]["value"] == pytest.approx(50_000 * 1200 * 30.4375 * 0.72 / 1e6)
    assert api["usd"]["high"] == pytest.approx(api["usd"]["value"] * 1.2, rel=0.02)
    assert {part["source"] != "" and part["as_of"] != "" for plan in found["plans"] for part in plan["parts"]} == {True}
    assert found["break_even"]
    assert found["catalogue_as_of"]
    assert list(tmp_path.iterdir()) == []


def test_the_table_says_what_was_chosen_and_why(tmp_path: Path) -> None:
    text = run(*STATED, *MODEL, "--only", "reserved", "--only", "on_demand", cwd=tmp_path, **WIDE).stdout
    for words in (
        "$ a month",
        "95 % interval",
        "worst",
        "dearer",
        "is the cheapest that keeps",
        "break-even",
        "by hour (UTC)",
    ):
        assert words in text
    assert "--catalogue" in text
    assert "API" not in text


def test_growth_and_objectives() -> None:
    one, double = (inside(*STATED, *MODEL, "--growth", growth) for growth in ("1", "2"))
    assert double["load"]["requests_per_day"] == pytest.approx(100_000)
    assert double["plans"][0]["usd"]["value"] > one["plans"][0]["usd"]["value"]
    hopeless = inside(*STATED, *MODEL, "--ttft-objective", "0.01")
    assert hopeless["chosen"] is None
    assert "no plan meets" in hopeless["verdict"]


def inside(*arguments: str) -> dict[str, Any]:
    """The same without a process of its own."""
    found: dict[str, Any] = json.loads(CliRunner().invoke(app, [*arguments, "--json"]).stdout)
    return found


@pytest.mark.parametrize(
    "arguments",
    [
        ("plan", "--requests-per-day", "100"),
        ("plan", "--requests-per-day", "100", "--input-tokens", "10"),
        ("plan", "--input-tokens", "10"),
        ("plan", "--peak", "3"),
        (*STATED, "--since", "7d"),
        (*STATED, "--where", "model=x"),
        (*STATED, "--uncertainty", "1.5"),
        (*STATED, "--only", "gold"),
        (*STATED, "--routing", "best"),
        ("plan", "--growth", "much"),
    ],
)
def test_wrong_usage_is_2(arguments: tuple[str, ...]) -> None:
    assert CliRunner().invoke(app, list(arguments)).exit_code == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (STATED, "choose the model to plan for with --model"),
        ((*STATED, "--model", "llama-3.3-70b"), "did you mean `llama-3.3-70b-instruct`?"),
        ((*STATED, *MODEL, "--growth", "-1"), "a load is scaled by a number above 0, not -1"),
        ((*STATED, *MODEL, "--peak", "0.5"), "peak must be from 1 to below hours"),
        ((*STATED, *MODEL, "--attainment", "95"), "attainment must be between 0 and 1, not 95"),
        ((*STATED, *MODEL, "--ttft-objective", "0"), "must be above 0 s"),
        ((*STATED, *MODEL, "--catalogue", "none.yaml"), "cannot read the catalogue none.yaml"),
        (("plan", "--requests-per-day", "nan", *STATED[3:], *MODEL), "requests_per_day must be above 0"),
        (("plan", "--since", "3x"), "`3x` is no duration"),
    ],
)
def test_failures_are_one_sentence(arguments: tuple[str, ...], said: str) -> None:
    error = CliRunner().invoke(app, list(arguments)).exception
    assert isinstance(error, MonitorError)
    assert said in str(error)
    assert "\n" not in str(error)


def test_a_failure_ends_with_1(tmp_path: Path) -> None:
    assert "must be above 0 s" in failure(*STATED, *MODEL, "--ttft-objective", "0", cwd=tmp_path)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with running(tmp_path_factory.mktemp("plan") / "data") as started:
        load_history(endpoint=started.addresses["grpc"])
        started.wait_until_stored()
        yield started


def test_measured_usage_is_that_of_the_trace(service: Service, tmp_path: Path) -> None:
    found = answer("plan", "--data", str(service.data), cwd=tmp_path)
    trace = azure_trace()
    load = found["load"]
    assert load["source"] == "measured"
    # 58 minutes of the week, in slots of five minutes; what begins before the first whole slot is left out.
    assert len(load["requests_per_s"]) in (11, 12)
    seconds = len(load["requests_per_s"]) * 300
    last_s = trace.arrival_ns[-1] / NS
    mine = trace.arrival_ns / NS >= last_s - seconds
    assert load["calls"] == pytest.approx(mine.sum(), rel=0.05)
    assert load["requests_per_day"] == pytest.approx(mine.sum() / min(seconds, last_s) * 86_400, rel=0.06)
    assert load["input_tokens"] == pytest.approx(np.mean(trace.input_tokens), rel=0.03)
    assert load["output_tokens"] == pytest.approx(np.mean(trace.output_tokens), rel=0.03)
    assert any("hours were measured" in note for note in found["notes"])
    assert any("of the window's 168.0 hours" in note for note in found["notes"])
    assert found["chosen"]
    api = next(plan for plan in found["plans"] if plan["kinds"] == ["per_token"])
    assert api["usd"]["value"] == pytest.approx(load["tokens_per_month"] * 0.72 / 1e6)
    assert api["usd"]["low"] < api["usd"]["value"] < api["usd"]["high"]


def test_measured_usage_filtered_and_grown(service: Service, tmp_path: Path) -> None:
    data = ("--data", str(service.data))
    whole = inside("plan", *data)
    part = inside("plan", "--where", "node=gpu-1", "--growth", "3", "--uncertainty", "0.3", *data)
    other = inside("plan", "--model", "llama-3.1-8b-instruct", *data)
    # The window moves on between two runs, so that its minutes are cut elsewhere.
    assert other["load"]["calls"] == pytest.approx(whole["load"]["calls"], rel=0.02)
    assert any("no call of llama-3.1-8b-instruct was seen" in note for note in other["notes"])
    assert part["load"]["calls"] < 0.5 * whole["load"]["calls"]
    assert part["load"]["requests_per_day"] == pytest.approx(whole["load"]["requests_per_day"], rel=0.1)
    assert part["load"]["level_error"] == 0.3
    text = run("plan", *data, cwd=tmp_path, **WIDE).stdout
    assert "measured from" in text
    assert "did you mean `node`" in str(CliRunner().invoke(app, ["plan", "--where", "nod=x", *data]).exception)
    nothing = CliRunner().invoke(app, ["plan", *MODEL, "--where", "node=none", *data]).exception
    assert "no call to plan from" in str(nothing)
