"""Files of rows as people have them."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from monitor.bias import read_families
from monitor.bias.binary import read_classes, read_outcome
from monitor.errors import BadInput
from monitor.stats.bias import BiasReport, Options, assess, families_of_rows


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    g = np.random.default_rng(5)
    n = 600
    label = (g.random(n) < 0.4).astype(int)
    return pd.DataFrame(
        {
            "language": g.choice(["de", "en", "NA", ""], n, p=[0.3, 0.5, 0.15, 0.05]),
            "tier": g.choice(["free", "paid"], n),
            "label": label,
            "prediction": np.where(g.random(n) < 0.8, label, 1 - label),
            "refused": g.choice(["yes", "no"], n, p=[0.1, 0.9]),
            "seconds": g.lognormal(0, 0.5, n).round(4),
            "calls": g.choice([1, 10], n),
        }
    )


def write(rows: pd.DataFrame, path: Path) -> Path:
    name = path.name
    if name.endswith(".parquet"):
        rows.to_parquet(path)
    elif ".csv" in name:
        rows.to_csv(path, index=False)
    elif ".tsv" in name:
        rows.to_csv(path, index=False, sep="\t")
    else:
        text = "".join(json.dumps(row) + "\n" for row in rows.to_dict("records")).encode()
        path.write_bytes(gzip.compress(text) if name.endswith(".gz") else text)
    return path


def report_of(path: Path) -> BiasReport:
    found, notes = read_families(
        path, by=[["language", "tier"]], label="label", prediction="prediction", outcomes=["refused", "seconds"], weight="calls"
    )  # fmt: skip
    assert notes == []
    return assess(found)


@pytest.mark.parametrize("name", ["x.csv", "x.csv.gz", "x.tsv", "x.jsonl", "x.ndjson.gz", "x.parquet"])
def test_each_kind_of_file_says_what_the_rows_say(rows: pd.DataFrame, tmp_path: Path, name: str) -> None:
    found = report_of(write(rows, tmp_path / name))
    wanted = assess(
        families_of_rows(
            {"language": rows["language"], "tier": rows["tier"]},
            label=rows["label"],
            prediction=rows["prediction"],
            outcomes={
                "refused": ("share", (rows["refused"] == "yes").to_numpy(dtype=float)),
                "seconds": ("mean", rows["seconds"]),
            },
            weights=rows["calls"],
        )
    )
    assert [vars(v) for v in found.values] == [vars(v) for v in wanted.values]
    assert [vars(v) for v in found.gaps] == [vars(v) for v in wanted.gaps]
    groups = {value.group for value in found.values if value.by == "language"}
    assert groups == {"de", "en", "NA", "unknown"}


def test_classes_that_are_not_yes_and_no() -> None:
    label, said = pd.Series(["cat", "dog", "bird", None]), pd.Series(["cat", "cat", "bird", "dog"])
    several = read_classes(label, said, positive=None)
    assert several.right is not None
    assert several.right == pytest.approx([1, 0, 1, np.nan], nan_ok=True)
    assert "--positive" in several.note
    cats = read_classes(label, said, positive="Cat")
    assert cats.label is not None
    assert cats.label == pytest.approx([1, 0, 0, np.nan], nan_ok=True)
    assert cats.prediction == pytest.approx([1, 1, 0, 0])


@pytest.mark.parametrize(
    "values", [[True, False, True], ["yes", "no", "yes"], [1, 0, 1], [1.0, 0.0, 1.0], ["1", "0", "1"], ["Approved", "denied", "t"]]
)  # fmt: skip
def test_yes_and_no(values: list[object]) -> None:
    kind, x = read_outcome(pd.Series([*values, None]))
    assert (kind, list(x[:3])) == ("share", [1, 0, 1])
    assert np.isnan(x[3])


def test_numbers() -> None:
    kind, x = read_outcome(pd.Series(["1.5", "", None, "inf", "-2", "nan"]))
    assert kind == "mean"
    assert x == pytest.approx([1.5, np.nan, np.nan, np.nan, -2, np.nan], nan_ok=True)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"by": [["languag"]], "outcomes": ["refused"]}, "did you mean `language`"),
        ({"by": [["language"]], "outcomes": ["tier"]}, "neither a number nor yes or no"),
        ({"by": [["language"]], "prediction": "tier"}, "--positive"),
        ({"by": [["language"]], "prediction": "tier", "positive": "gold"}, "no prediction is `gold`"),
        ({"by": [["language"]], "label": "label", "prediction": "seconds"}, "scores, not classes"),
        ({"by": [["language"]], "outcomes": ["refused"], "weight": "tier"}, "no number above 0"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(rows: pd.DataFrame, tmp_path: Path, asked: dict, words: str) -> None:  # type: ignore[type-arg]
    with pytest.raises(BadInput, match=words):
        read_families(write(rows, tmp_path / "x.csv"), **asked)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("x.csv", b"", "not what its name says"),
        ("x.csv", b"a,b\n", "has no rows"),
        ("x.csv", b"a\n\xff\xfe\n", "not UTF-8"),
        ("x.csv.gz", b"a,b\n1,2\n", "cannot read|not what its name says"),
        ("x.jsonl", b'{"a": 1\n', "not what its name says"),
        ("x.parquet", b"PAR1", "cannot read|not what its name says"),
        ("x.txt", b"a", "must end in"),
        ("y.csv", None, "cannot read"),
    ],
)
def test_broken_files(tmp_path: Path, name: str, content: bytes | None, words: str) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BadInput, match=words):
        read_families(path, by=[["a"]], outcomes=["a"])


def test_too_many_groups(tmp_path: Path) -> None:
    path = write(pd.DataFrame({"user": range(6000), "x": 1}), tmp_path / "x.csv")
    with pytest.raises(BadInput, match="6000 groups"):
        read_families(path, by=[["user"]], outcomes=["x"])


def test_counts_of_nobody(tmp_path: Path) -> None:
    """A group whose labels are all missing has no rates, and takes none from the others."""
    frame = pd.DataFrame({"g": ["a"] * 40 + ["b"] * 40, "y": [1, 0] * 20 + [None] * 40, "p": [1, 1] * 40})
    found, _ = read_families(write(frame, tmp_path / "x.csv"), by=[["g"]], label="y", prediction="p")
    values = {(v.metric, v.group): v for v in assess(found, Options(min_n=5)).values}
    assert values["accuracy", "b"].value is None
    assert values["accuracy", "b"].n == 0
    assert values["accuracy", "a"].value == 0.5
