"""`monitor drift` as its user meets it: on files, and on windows of a store."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from monitor.cli import app, commands
from monitor.errors import MonitorError
from monitor.kpis import Window
from monitor.store.client import connect
from tests.cli.test_cli import run
from tests.conftest import Databases, empty_all, migrated_database, with_database
from tests.drift.test_windows import LATER, calls
from tests.kpis.rows import WINDOW, store
from tests.stats.drift.test_effects import NANNYML

assert commands  # importing it registers them
KEYS = ("feature", "method", "value", "low", "high", "p_value", "threshold", "drifted", "n_reference", "n_current")


def inside(*arguments: str) -> list[dict[str, Any]]:
    """The command without a process of its own."""
    done = CliRunner().invoke(app, ["drift", *arguments, "--json"])
    if done.exception is not None:
        raise done.exception
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The car loan data, reference and analysis, as a user has them."""
    folder = tmp_path_factory.mktemp("drift")
    table = pd.read_csv(Path(__file__).parents[1] / "data" / "nannyml-car-loan" / "features.csv.gz")
    for name, rows in (("reference", table[table["chunk"] < 0]), ("analysis", table[table["chunk"] >= 0])):
        rows.drop(columns="chunk").to_csv(folder / f"{name}.csv.gz", index=False)
    return folder / "reference.csv.gz", folder / "analysis.csv.gz"


def test_car_loan_by_chunk(files: tuple[Path, Path], tmp_path: Path) -> None:
    reference, analysis = map(str, files)
    done = run("drift", "--reference", reference, "--current", analysis, "--chunk", "5000", "--json", cwd=tmp_path)
    found = json.loads(done.stdout)
    assert len(done.stdout.splitlines()) == len(found) + 2  # one object a line
    assert all(set(KEYS) <= set(each) and each["reason"] for each in found)
    ratio = [each for each in found if each["feature"] == "debt_to_income_ratio"]
    assert [f"{each['value']:.6f}" for each in ratio] == NANNYML
    assert [each["chunk"] for each in ratio] == list(range(10))
    assert {(each["n_reference"], each["n_current"]) for each in ratio} == {(50_000, 5_000)}
    value = [each["drifted"] for each in found if each["feature"] == "car_value"]
    assert value == [False] * 5 + [True] * 5
    assert list(tmp_path.iterdir()) == []


def test_columns_methods_threshold(files: tuple[Path, Path]) -> None:
    sides = ("--reference", str(files[0]), "--current", str(files[1]))
    found = inside(*sides, "--columns", "car_value", "--method", "ks", "--method", "psi")
    assert [(each["method"], each["drifted"]) for each in found] == [("ks", True), ("psi", True)]
    assert "chunk" not in found[0]
    (high,) = inside(*sides, "--columns", "car_value", "--threshold", "0.5")
    assert (high["threshold"], high["drifted"]) == (0.5, False)
    (domain,) = inside(*sides, "--columns", "car_value", "--method", "domain_classifier")
    assert domain["drifted"]
    assert "car_value" in domain["moved"][0]
    assert len(domain["reference_rows"]) == len(domain["current_rows"]) == 3


@pytest.mark.parametrize("ending", ["csv", "csv.gz", "parquet", "parquet.gz"])
def test_formats(tmp_path: Path, ending: str) -> None:
    rng = np.random.default_rng(1)
    paths = []
    for side, shift in (("a", 0.0), ("b", 1.0)):
        table = pd.DataFrame({"score": rng.normal(shift, 1, 400), "why": rng.choice(["stop", "length"], 400)})
        path = tmp_path / f"{side}.{ending}"
        if "csv" in ending:
            table.to_csv(path, index=False)
        else:
            plain = tmp_path / f"{side}.plain"
            table.to_parquet(plain)
            path.write_bytes(gzip.compress(plain.read_bytes()) if ending.endswith("gz") else plain.read_bytes())
        paths.append(str(path))
    found = {each["feature"]: each for each in inside("--reference", paths[0], "--current", paths[1])}
    assert found["score"]["drifted"]
    assert not found["why"]["drifted"]


def test_text_is_named_by_its_words(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    for side, extra in (("a", ""), ("b", " refund now")):
        rows = [" ".join(rng.choice([f"w{i}" for i in range(50)], 8)) + extra for _ in range(150)]
        pd.DataFrame({"prompt": rows}).to_csv(tmp_path / f"{side}.csv", index=False)
    (found,) = inside("--reference", str(tmp_path / "a.csv"), "--current", str(tmp_path / "b.csv"))
    assert (found["method"], found["drifted"]) == ("domain_classifier", True)
    assert set(found["moved"][:2]) == {"+refund", "+now"}


def test_the_table_says_what_and_why(files: tuple[Path, Path], tmp_path: Path) -> None:
    sides = ("--reference", str(files[0]), "--current", str(files[1]))
    text = run("drift", *sides, cwd=tmp_path, COLUMNS="220", TERM="dumb").stdout
    assert text.index("car_value") < text.index("debt_to_income_ratio")
    for words in ("95 % interval", "drifted", "effect below threshold", "50,000 / 50,000"):
        assert words in text


@pytest.fixture
def configured(clickhouse_url: str, migrated: Databases, tmp_path: Path) -> Iterator[tuple[str, str]]:
    """`--config` of a store with two hours, the second one slower."""
    url = with_database(clickhouse_url, migrated_database(clickhouse_url, migrated))
    client = connect(url)
    after = calls(seed=2, hours=1)
    after["ttft_s"] *= 2
    store(client, calls(seed=1))
    store(client, after)
    (tmp_path / "monitor.yaml").write_text(f"store: {{url: '{url}'}}")
    yield "--config", str(tmp_path / "monitor.yaml")
    empty_all(client)
    client.close()


def written(window: Window) -> str:
    return f"{window.start.isoformat()}/{window.end.isoformat()}"


def test_windows_of_the_store(configured: tuple[str, str]) -> None:
    sides = ("--reference", written(WINDOW), "--current", written(LATER))
    found = inside(*sides, *configured)
    assert {each["feature"] for each in found if each["drifted"]} == {"ttft"}
    assert all(set(KEYS) <= set(each) for each in found)
    halves = inside(*sides, *configured, "--columns", "ttft,model", "--chunk", "30m", "--where", "model=llama")
    assert {(each["feature"], each["chunk"]) for each in halves} >= {
        ("ttft", 0),
        ("ttft", 1),
        ("model", 0),
        ("model", 1),
    }
    assert LATER.end - LATER.start == timedelta(hours=1)


def test_wrong_usage_is_2(files: tuple[Path, Path]) -> None:
    sides = ("drift", "--reference", str(files[0]), "--current", str(files[1]))
    for arguments in (
        ("drift", "--reference", "1d"),
        (*sides, "--method", "best"),
        (*sides, "--chunk", "1h"),
        (*sides, "--chunk", "0"),
        (*sides, "--where", "model=x"),
        (*sides, "--method", "ks", "--method", "psi", "--threshold", "0.1"),
    ):
        assert CliRunner().invoke(app, list(arguments)).exit_code == 2, arguments


def test_failures_are_one_sentence(files: tuple[Path, Path], tmp_path: Path) -> None:
    file, empty, broken = str(files[0]), tmp_path / "empty.csv", tmp_path / "broken.parquet"
    empty.write_text("")
    broken.write_text("no parquet")
    cases = {
        ("none.csv", file): "there is no file none.csv",
        ("7d..1d", file): "one side is a file, and `7d..1d` is none",
        ("1d..7d", "1h"): "must begin before it ends",
        (file, str(empty)): "empty.csv cannot be read as CSV",
        (str(broken), file): "broken.parquet cannot be read as Parquet",
    }
    for (reference, current), said in cases.items():
        with pytest.raises(MonitorError, match=said):
            inside("--reference", reference, "--current", current)
    with pytest.raises(MonitorError, match="has no column `gone`"):
        inside("--reference", file, "--current", file, "--columns", "gone")
    with pytest.raises(MonitorError, match="alpha"):
        inside("--reference", file, "--current", file, "--alpha", "1.5")
    with pytest.raises(MonitorError, match="no store in the data folder"):
        inside("--reference", "2d..1d", "--current", "1d", "--data", str(tmp_path / "none"))
