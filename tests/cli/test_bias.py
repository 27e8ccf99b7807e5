"""`monitor bias` as its user meets it: on files, on BBQ's answers, and on a running store."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from monitor.cli import app, commands
from monitor.errors import MonitorError
from tests.cli.test_cli import failure, run
from tests.tools.service import ROOT, Service, running

assert commands  # importing it registers them
BBQ = ROOT / "tests" / "data" / "bbq-religion" / "preds_Religion.jsonl.gz"
LOANS = ROOT / "tests" / "data" / "nannyml-car-loan" / "scores.csv.gz"
VALUE_KEYS = {"metric", "group", "value", "low", "high", "n", "sufficient"}
GAP_KEYS = {"metric", "gap", "value", "low", "high", "worst", "best", "verdict", "reason"}


def inside(*arguments: str) -> list[dict[str, Any]]:
    result = CliRunner().invoke(app, ["bias", *arguments, "--json"])
    assert result.exit_code == 0, result.output
    found: list[dict[str, Any]] = json.loads(result.stdout)
    return found


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """`de` is refused in 40 of 100 calls, `en` in 10 of 200; `fr` has three rows, two have no language."""
    path = tmp_path / "rows.csv"
    counts = {"de,1": 40, "de,0": 60, "en,1": 10, "en,0": 190, "fr,1": 3, ",0": 2}
    path.write_text("language,refused\n" + "".join(f"{row}\n" * n for row, n in counts.items()))
    return path


def test_a_file_with_a_biased_group(rows: Path) -> None:
    found = inside(str(rows), "--group", "language", "--outcome", "refused", "--better", "lower")
    values = {each["group"]: each for each in found if "gap" not in each}
    gaps = {each["gap"]: each for each in found if "gap" in each}
    assert all(each.keys() >= VALUE_KEYS for each in values.values())
    assert all(each.keys() >= GAP_KEYS for each in gaps.values())
    assert {group: (each["value"], each["n"], each["sufficient"]) for group, each in values.items()} == {
        "de": (0.4, 100, True), "en": (0.05, 200, True), "fr": (1.0, 3, False), "unknown": (0.0, 2, False),
    }  # fmt: skip
    gap = gaps["difference"]
    assert (gap["value"], gap["worst"], gap["best"], gap["verdict"]) == (pytest.approx(0.35), "de", "en", "alert")
    assert gap["low"] > 0.24
    assert "`de` and `en` differ by at least 0.2" in gap["reason"]
    assert values["de"]["direction"] == "`de` is refused more often than the rest"
    wide = inside(str(rows), "--group", "language", "--outcome", "refused", "--tolerance", "0.5")
    assert {each["verdict"] for each in wide if each.get("gap") == "difference"} == {"within"}


def test_a_process_and_its_table(rows: Path, tmp_path: Path) -> None:
    wide = {"COLUMNS": "200", "TERM": "dumb"}
    text = run("bias", str(rows), "--group", "language", "--outcome", "refused", cwd=tmp_path, **wide).stdout
    for words in (
        "alert",
        "`de` is refused more often than the rest",
        "insufficient: 3 rows, 30 wanted",
        "95 % interval",
    ):
        assert words in text


def test_labels_against_predictions_of_counted_rows() -> None:
    found = inside(str(LOANS), "--group", "chunk", "--label", "repaid", "--prediction", "y_pred", "--count", "rows")
    metrics = {each["metric"] for each in found if "gap" not in each}
    assert metrics == {"accuracy", "selection_rate", "true_positive_rate", "false_positive_rate", "precision"}
    # 50,000 loans of the reference, 5,000 of each chunk of ten; the last five lose accuracy.
    sizes = {each["group"]: each["n"] for each in found if each["metric"] == "accuracy" and "gap" not in each}
    assert [sizes[str(chunk)] for chunk in range(10)] == [5000] * 10
    worse = {each["group"] for each in found if each.get("direction", "").endswith("rightly less often than the rest")}
    assert worse == {"5", "6", "7", "8", "9"}
    assert {each["metric"] for each in found if "gap" in each} >= {
        "demographic_parity",
        "equal_opportunity",
        "equalized_odds",
    }


def test_published_scores_of_bbq() -> None:
    found = inside("--bbq", str(BBQ))
    values = {(each["answers"].rpartition("_")[2], each["metric"]): round(each["value"], 1) for each in found}
    for answers, ambiguous, disambiguated, difference in (("arc", 24.5, 3.5, -4.3), ("race", 14.3, 0.2, -0.7)):
        assert values[answers, "bbq.ambiguous"] == ambiguous
        assert values[answers, "bbq.disambiguated"] == disambiguated
        assert values[answers, "bbq.accuracy_difference"] == difference
    table = CliRunner().invoke(app, ["bias", "--bbq", str(BBQ), "--answers", "unifiedqa-t5-11b_pred_arc"]).stdout
    assert "24.5" in table
    assert "14.3" not in table


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("x.csv",),
        ("x.csv", "--group", "g"),
        ("x.csv", "--group", "g", "--label", "y"),
        ("x.csv", "--group", "g,g", "--outcome", "x"),
        ("x.csv", "--group", "g", "--prediction", "p", "--outcome", "accuracy"),
        ("x.csv", "--group", "g", "--outcome", "x", "--where", "model=x"),
        ("x.csv", "--group", "g", "--outcome", "x", "--tolerance", "-1"),
        ("x.csv", "--group", "g", "--outcome", "x", "--min-n", "0"),
        ("x.csv", "--group", "g", "--outcome", "x", "--answers", "a"),
        ("24h", "--group", "model", "--weight", "w"),
        ("24h", "--group", "model", "--count", "w"),
        ("24h", "--group", "model", "--better", "bigger"),
        ("x.csv", "--bbq", "y.jsonl"),
    ],
)
def test_wrong_usage_is_2(arguments: tuple[str, ...]) -> None:
    assert CliRunner().invoke(app, ["bias", *arguments]).exit_code == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("none.csv", "--group", "g", "--outcome", "x"), "cannot read none.csv"),
        (("yesterday", "--group", "g", "--outcome", "x"), "`yesterday` is neither a file nor a window"),
        (("2026-01-01/soon", "--group", "g"), "has no two times"),
        (("2026-01-02/2026-01-01", "--group", "g"), "must end after its start"),
        (("--bbq", "none.jsonl"), "cannot read none.jsonl"),
        (("--bbq", str(LOANS)), "is no file of BBQ"),
    ],
)
def test_failures_are_one_sentence(arguments: tuple[str, ...], said: str) -> None:
    error = CliRunner().invoke(app, ["bias", *arguments]).exception
    assert isinstance(error, MonitorError)
    assert said in str(error)
    assert "\n" not in str(error)


def test_a_failure_ends_with_1(tmp_path: Path) -> None:
    assert "cannot read none.csv" in failure("bias", "none.csv", "--group", "g", "--outcome", "x", cwd=tmp_path)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that our SDK has sent 240 calls to: `de` stops at the filter in two of three, others never."""
    sends = """
import monitor
monitor.init(service="chat", endpoint=%r)
for i in range(240):
    with monitor.inference("m", cohorts={"language": ("de", "en")[i %% 2], "tier": ("free", "paid")[i // 2 %% 2]}) as call:
        call.finish(output_tokens=3, finish_reason="content_filter" if i %% 2 == 0 and i %% 3 else "stop")
monitor.shutdown()
"""
    with running(tmp_path_factory.mktemp("bias") / "data") as started:
        code = sends % f"http://{started.addresses['grpc']}"
        subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, timeout=60)
        started.wait_until_stored()
        yield started


def test_a_window_of_the_store(service: Service) -> None:
    found = inside("1h", "--group", "language,tier", "--outcome", "refusal", "--data", str(service.data))
    values = {(each["by"], each["group"]): each for each in found if "gap" not in each}
    assert values["language", "de"]["value"] == pytest.approx(2 / 3)
    assert values["language", "en"]["value"] == 0
    assert values["language,tier", "de & free"]["n"] == 60
    gaps = {(each["by"], each["gap"]): each for each in found if "gap" in each}
    assert (gaps["language", "difference"]["worst"], gaps["language", "difference"]["verdict"]) == ("de", "alert")
    assert gaps["tier", "difference"]["verdict"] == "unclear"
    whole = inside("1h", "--group", "cohort.language", "--data", str(service.data))
    assert {each["metric"] for each in whole} == {"error", "refusal", "latency"}
    error = CliRunner().invoke(app, ["bias", "1h", "--group", "langage", "--data", str(service.data)]).exception
    assert "cohorts of this window are language, tier" in str(error)
