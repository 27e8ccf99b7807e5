"""Drift of a table against its reference: ours and Evidently's, same data, same machine, one run.

    python -m benchmarks.drift [--rows 1000000] [--rounds 3] [--keep FOLDER]

20 features (14 numbers, 6 categories) on both sides; four numbers and two categories are shifted. Evidently 0.7.23 gets a
virtual environment of its own, made here with pip (it needs pandas below 3). Each side is a process that reads the same
Parquet files; reading is not counted, in memory it is. Ours runs with its default (Jensen-Shannon, chi-square p, intervals)
and with Evidently's own choice for so many rows (Wasserstein for numbers, Jensen-Shannon for categories), with exact
distances. The rounds of the sides alternate; printed are medians, the quotient, the peak of memory, and the verdicts.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

ROOT = Path(__file__).parents[1]
NEEDS = ["evidently==0.7.23", "pandas<3", "pyarrow"]
SHIFTED = ("x0", "x4", "x8", "x12", "c1", "c4")
SIDES = {"ours": "default", "ours, its methods": "same", "evidently": "evidently"}


def main() -> None:
    """Make data and environments, run, print."""
    parser = argparse.ArgumentParser(description="Drift of a table, against Evidently.")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--keep", type=Path, help="keep the environment in this folder, and use it if it is there")
    options = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        for side, seed in (("reference", 1), ("current", 2)):
            table(options.rows, seed, shifted=side == "current").to_parquet(folder / f"{side}.parquet")
        theirs = environment((options.keep or folder) / "evidently", NEEDS)
        pythons = {name: theirs if kind == "evidently" else Path(sys.executable) for name, kind in SIDES.items()}
        sides = {name: stack.enter_context(started(pythons[name], kind, folder)) for name, kind in SIDES.items()}
        found: dict[str, list[dict[str, Any]]] = {name: [] for name in SIDES}
        for _ in range(options.rounds):
            for name, side in sides.items():
                found[name].append(answer(side))
    print_report(options.rows, found)


def table(rows: int, seed: int, *, shifted: bool) -> pd.DataFrame:
    """Numbers as a monitored service has them (skewed, counted, normal), and categories of 2 to 60 kinds."""
    rng = np.random.default_rng(seed)
    columns: dict[str, Any] = {}
    for i in range(14):
        name = f"x{i}"
        moved = 0.35 if shifted and name in SHIFTED else 0.0
        if i % 3 == 0:
            columns[name] = rng.lognormal(moved, 0.6, rows)
        elif i % 3 == 1:
            columns[name] = rng.poisson(200 * (1 + moved), rows)
        else:
            columns[name] = rng.normal(moved, 1.0, rows)
    for i, kinds in enumerate((2, 5, 8, 12, 30, 60)):
        name = f"c{i}"
        weights = 1 / np.arange(1, kinds + 1)
        if shifted and name in SHIFTED:
            weights = weights[::-1]
        columns[name] = np.array([f"k{j}" for j in range(kinds)])[rng.choice(kinds, rows, p=weights / weights.sum())]
    return pd.DataFrame(columns)


@contextmanager
def started(python: Path, kind: str, folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A side that has read the data and waits."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    if kind != "evidently":
        variables["PYTHONPATH"] = str(ROOT)
    variables["DO_NOT_TRACK"] = "1"
    side = subprocess.Popen(
        [str(python), str(ROOT / "benchmarks" / "drift_side.py"), kind, str(folder)],
        env=variables, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        read_line(side)
        yield side
    finally:
        side.terminate()
        side.wait(10)


def answer(side: subprocess.Popen[str]) -> dict[str, Any]:
    """One round of one side."""
    assert side.stdin is not None
    side.stdin.write("go\n")
    side.stdin.flush()
    return read_line(side)


def read_line(side: subprocess.Popen[str]) -> Any:
    """Its next line of JSON."""
    assert side.stdout is not None
    while line := side.stdout.readline():
        if line.startswith("{"):
            return json.loads(line)
    raise SystemExit(f"{' '.join(map(str, side.args))} has ended")


def environment(folder: Path, needs: list[str]) -> Path:
    """A virtual environment with these packages; return its Python."""
    python = folder / "bin" / "python"
    if not (folder / "complete").exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "--upgrade", "pip"], check=True)
        subprocess.run([*pip, *needs], check=True)
        (folder / "complete").touch()
    return python


def print_report(rows: int, found: dict[str, list[dict[str, Any]]]) -> None:
    """Medians, quotients, memory, verdicts."""
    print(f"{rows:,} rows a side, 20 features; medians of {len(found['ours'])} rounds")
    seconds = {name: statistics.median(each["seconds"] for each in runs) for name, runs in found.items()}
    for name, runs in found.items():
        peak = max(each["peak_mib"] for each in runs)
        quotient = statistics.median(
            theirs["seconds"] / own["seconds"] for own, theirs in zip(runs, found["evidently"], strict=True)
        )
        print(f"{name:18} {seconds[name]:8.2f} s   {quotient:6.1f} times as fast   {peak:6.0f} MiB peak")
    drifted = {name: sorted(runs[0]["drifted"]) for name, runs in found.items()}
    print(f"shifted: {', '.join(sorted(SHIFTED))}")
    for name, features in drifted.items():
        print(f"{name:18} says {', '.join(features)}")
    values = {name: runs[0]["values"] for name, runs in found.items()}
    # Evidently's Jensen-Shannon distance is in nats, ours in bits.
    unit = {each: math.sqrt(math.log(2)) if each.startswith("c") else 1.0 for each in values["evidently"]}
    own = values["ours, its methods"]
    apart = max(abs(own[each] * unit[each] - value) for each, value in values["evidently"].items())
    print(f"effects by its methods, ours against its own: apart by {apart:.2g} at most")
    if len({tuple(features) for features in drifted.values()}) > 1:
        raise SystemExit("the verdicts differ")


if __name__ == "__main__":
    main()
