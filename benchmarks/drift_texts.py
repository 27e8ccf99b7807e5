"""Drift of texts: ours and Evidently's, same data, same machine, one run.

    python -m benchmarks.drift_texts [--texts 100000] [--rounds 3] [--keep FOLDER]

Two columns of so many short texts a side: in `moved` the share of one topic of six grows from 10 to 40 %, `stable` is as before.
Evidently 0.7.23, in the environment of `benchmarks.drift`, gets its own default for text columns of more than 1,000 rows (a
classifier of the two sides, half of the texts to train and half to judge, drifted above an area of 0.55). Ours compares words by the domain
classifier and, in a side of its own, topics as well. Each side is a process that reads the same Parquet files; reading is not
counted, in memory it is. The rounds alternate; printed are medians, the quotient, the peak of memory, and the verdicts.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.drift import NEEDS, answer, environment, started

SIDES = {"ours, words": "words", "ours, words and topics": "texts", "evidently": "evidently_texts"}
TOPICS = 6
WORDS = 12  # of a text


def main() -> None:
    """Make data and environments, run, print."""
    parser = argparse.ArgumentParser(description="Drift of texts, against Evidently.")
    parser.add_argument("--texts", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--keep", type=Path, help="keep the environment in this folder, and use it if it is there")
    options = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        for side, seed in (("reference", 1), ("current", 2)):
            moved = 0.4 if side == "current" else 0.1
            table = pd.DataFrame(
                {"moved": texts(options.texts, seed, moved), "stable": texts(options.texts, seed + 10, 0.1)}
            )
            table.to_parquet(folder / f"{side}.parquet")
        theirs = environment((options.keep or folder) / "evidently", NEEDS)
        pythons = {
            name: theirs if kind.startswith("evidently") else Path(sys.executable) for name, kind in SIDES.items()
        }
        sides = {name: stack.enter_context(started(pythons[name], kind, folder)) for name, kind in SIDES.items()}
        found: dict[str, list[dict[str, Any]]] = {name: [] for name in SIDES}
        for _ in range(options.rounds):
            for name, side_ in sides.items():
                found[name].append(answer(side_))
    print_report(options.texts, found)


def texts(n: int, seed: int, first: float) -> list[str]:
    """Sentences of twelve words: half of them of one topic of six, half of all; frequencies as in language (Zipf)."""
    rng = np.random.default_rng(seed)
    shares = np.array([first, *[(1 - first) / (TOPICS - 1)] * (TOPICS - 1)])
    topic = rng.choice(TOPICS, n, p=shares)
    own = topic[:, None] * 500 + np.minimum(rng.zipf(1.3, (n, WORDS // 2)), 500) - 1
    common = TOPICS * 500 + np.minimum(rng.zipf(1.2, (n, WORDS // 2)), 3000) - 1
    words = np.array([f"w{i}" for i in range(TOPICS * 500 + 3000)])
    return [" ".join(each) for each in words[np.hstack([own, common])]]


def print_report(n: int, found: dict[str, list[dict[str, Any]]]) -> None:
    """Medians, quotients, memory, verdicts."""
    rounds = len(found["evidently"])
    print(f"{n:,} texts a side in each of two columns; medians of {rounds} rounds")
    for name, runs in found.items():
        seconds = statistics.median(each["seconds"] for each in runs)
        quotient = statistics.median(
            theirs["seconds"] / own["seconds"] for own, theirs in zip(runs, found["evidently"], strict=True)
        )
        peak = max(each["peak_mib"] for each in runs)
        print(f"{name:24} {seconds:8.2f} s   {quotient:6.1f} times as fast   {peak:6.0f} MiB peak")
        print(f"{'':24} says {', '.join(sorted(runs[0]['drifted'])) or 'nothing'}; {runs[0]['values']}")
    columns = {name: {each.split(".")[0] for each in runs[0]["drifted"]} for name, runs in found.items()}
    if len({frozenset(each) for each in columns.values()}) > 1:
        raise SystemExit("the verdicts differ")


if __name__ == "__main__":
    main()
