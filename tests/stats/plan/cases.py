"""Small engines, offers and loads."""

from __future__ import annotations

from typing import Any

import numpy as np

from monitor.stats.plan import Engine, Load, Objectives, Offer
from monitor.stats.plan.load import lognormal_nodes

ENGINE = Engine(
    model="m",
    gpu="G",
    prefill_tokens_per_s=8000,
    overhead_s=0.03,
    tpot_s=0.02,
    decode_tokens_per_s=1600,
    concurrency=64,
)
GOAL = Objectives(ttft_s=1.0, attainment=0.95)


def load(*rates: float, slot_s: float = 3600.0, tokens: tuple[float, float] = (1000, 200), **rest: Any) -> Load:
    """Slots of one step each, at these rates."""
    calls = np.array(rates, dtype=np.float64)[:, None]
    rest.setdefault("block", np.zeros(len(rates), dtype=np.int64))
    return Load(
        slot_s=slot_s,
        step_s=slot_s,
        calls_rps=calls,
        input_tps=calls * tokens[0],
        output_tps=calls * tokens[1],
        prompt_nodes=lognormal_nodes(tokens[0], 1.0),
        **rest,
    )


def offer(kind: Any, **rest: Any) -> Offer:
    rest.setdefault("name", kind)
    if kind != "per_token":
        rest.setdefault("gpu", "G")
    return Offer(kind=kind, **rest)
