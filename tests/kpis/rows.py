"""Random calls, as a frame for the oracle and as rows of `inferences`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd

from monitor.kpis import Window
from monitor.store import Client

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
WINDOW = Window(START, START + timedelta(hours=1))


def random_calls(n: int, *, seed: int, weights: tuple[float, ...] = (1.0,)) -> pd.DataFrame:
    """Calls spread over the window, with what occurs in life: unknown values, errors, broken off calls, ties."""
    g = np.random.default_rng(seed)
    output = g.integers(0, 200, n).astype(float)
    ttft = g.lognormal(-1, 0.7, n).round(3)
    duration = ttft + output * g.lognormal(-4, 0.3, n)
    calls = pd.DataFrame(
        {
            "timestamp": [START + timedelta(microseconds=int(us)) for us in g.integers(0, 3_600_000_000, n)],
            "trace_id": [f"{i:032x}" for i in range(1, n + 1)],
            "span_id": [f"{i:016x}" for i in range(1, n + 1)],
            "role": "client",
            "node": g.choice(["gpu-1", "gpu-2", "gpu-3"], n, p=[0.6, 0.3, 0.1]),
            "model": g.choice(["llama", "qwen"], n),
            "stream": [(True, False, None)[i] for i in g.integers(0, 3, n)],
            "user_id": g.choice(["u1", "u2"], n),
            "input_tokens": np.where(g.random(n) < 0.1, np.nan, g.integers(0, 3000, n)),
            "output_tokens": np.where(g.random(n) < 0.1, np.nan, output),
            "ttft_s": np.where(g.random(n) < 0.2, np.nan, ttft),
            "tpot_s": np.where(output < 2, np.nan, (duration - ttft) / np.maximum(output - 1, 1)),
            "queue_s": np.where(g.random(n) < 0.5, np.nan, g.exponential(0.01, n)),
            "prefill_s": np.where(g.random(n) < 0.5, np.nan, g.exponential(0.1, n)),
            "decode_s": np.where(g.random(n) < 0.5, np.nan, g.exponential(2, n)),
            "duration_s": duration,
            "error_type": np.where(g.random(n) < 0.08, "timeout", ""),
            "cancelled": g.random(n) < 0.05,
            "sample_weight": g.choice(weights, n),
            "emitter": g.choice(["e1", "e2", ""], n),
        }
    )
    calls.loc[0, "sample_weight"] = min(weights)
    calls.loc[0, "error_type"] = ""
    calls.loc[0, "cancelled"] = False
    calls["seq"] = calls.groupby("emitter").cumcount() + 1
    calls.loc[calls["emitter"] == "", "seq"] = 0
    return calls


def store(client: Client, calls: pd.DataFrame) -> None:
    """Write them."""
    names = list(calls.columns)
    whole = [names.index(name) for name in ("input_tokens", "output_tokens") if name in names]
    rows: list[list[Any]] = [
        [None if pd.isna(value) else value for value in row] for row in calls.itertuples(index=False, name=None)
    ]
    for row in rows:
        for i in whole:
            row[i] = None if row[i] is None else int(row[i])
    client.insert("inferences", rows, column_names=names)
