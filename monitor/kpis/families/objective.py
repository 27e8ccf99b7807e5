"""`objective.`: what was promised, and how far it is kept; configured in `objectives` of monitor.yaml."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from monitor.kpis.attainment import (
    Attainment,
    BurnRate,
    ErrorBudget,
    GoodPerDollar,
    GoodPerGpuHour,
    Judgement,
    NotAsked,
)
from monitor.kpis.conditions import goodput_of, judgement_of
from monitor.kpis.families.dynamic import Dynamic
from monitor.kpis.kpi import Kpi
from monitor.kpis.window import parse_duration
from monitor.store import Client
from monitor.store.objectives import Objective, Version, read_objectives

# What a call costs, in US dollars.
COST: Final = "cost_usd"
NO_LATENCY_OBJECTIVE: Final = (
    "there is no objective on latency, so nothing to be good at; set one under `objectives` in monitor.yaml"
)


def find(client: Client) -> list[Kpi]:
    """KPIs of the objectives that hold now, and goodput, which says so if there is none."""
    objectives = read_objectives(client)
    kpis = [kpi for versions in objectives.values() for kpi in kpis_of(versions)]
    return [*kpis, *_goodput(goodput_of(objectives))]


def kpis_of(versions: Sequence[Version]) -> list[Kpi]:
    objective = versions[-1].objective
    judgement = judgement_of(versions)
    front, target, period = f"objective.{objective.name}", objective.target, objective.period
    words = f"{_in_words(objective)}{_whose(objective)}"
    note = f" {objective.description}" if objective.description else ""
    return [
        Kpi(
            name=f"{front}.attainment",
            unit="1",
            meaning=f"Share of calls that are good: {words}; {target:.6g} is promised.{note}",
            formula="Σ sample_weight of good calls / Σ sample_weight of good and bad calls",
            better="higher",
            source="outcomes",
            estimator=Attainment(of=judgement),
        ),
        Kpi(
            name=f"{front}.error_budget",
            unit="1",
            meaning=(
                f"Share of the error budget that is left over the {period} up to the window's end: 1 untouched, 0 used up,"
                f" below 0 overdrawn. Good: {words}.{note}"
            ),
            formula=f"1 − (1 − attainment over {period}) / (1 − {target:.6g})",
            better="higher",
            source="outcomes",
            estimator=ErrorBudget(of=judgement, target=target),
            window=period,
            period_s=parse_duration(period).total_seconds(),
        ),
        Kpi(
            name=f"{front}.burn_rate",
            unit="×",
            meaning=(
                f"Speed at which the window spends the error budget; 1 spends it exactly in {period}. Good: {words}.{note}"
            ),
            formula=f"(1 − attainment) / (1 − {target:.6g})",
            better="lower",
            source="outcomes",
            estimator=BurnRate(of=judgement, target=target),
        ),
    ]


def _goodput(judgement: Judgement | None) -> list[Kpi]:
    nothing = NotAsked(why=NO_LATENCY_OBJECTIVE)
    asked = judgement is not None
    good = "met all latency objectives that are about them, had no error and were not blocked by moderation"
    return [
        Kpi(
            name="objective.goodput",
            unit="1",
            meaning=f"Share of calls that {good}, all by the same call.",
            formula="Σ sample_weight of such calls / Σ sample_weight of calls that can be told",
            better="higher",
            source="outcomes" if asked else "calls",
            estimator=nothing if judgement is None else Attainment(of=judgement, bounds=True),
        ),
        Kpi(
            name="objective.goodput_per_gpu_hour",
            unit="call/GPU-h",
            meaning=f"Calls that {good}, for each hour of a GPU.",
            formula="Σ sample_weight of such calls / (distinct GPU and minute in gpu_samples / 60)",
            better="higher",
            source="gpu_hours" if asked else "calls",
            estimator=nothing if judgement is None else GoodPerGpuHour(of=judgement),
        ),
        Kpi(
            name="objective.goodput_per_dollar",
            unit="call/USD",
            meaning=f"Calls that {good}, for each US dollar that such and other calls cost.",
            formula=f"Σ sample_weight of such calls / Σ sample_weight · {COST}, over calls that say what they cost",
            better="higher",
            source="priced" if asked else "calls",
            estimator=nothing if judgement is None else GoodPerDollar(of=judgement, cost=COST),
        ),
    ]


def _in_words(objective: Objective) -> str:
    if objective.kind == "latency":
        return f"{objective.latency} of at most {objective.threshold_s:g} s"
    if objective.kind == "cost":
        return f"a cost of at most {objective.ceiling_usd:g} USD"
    if objective.kind == "accuracy":
        wanted = " or ".join(objective.labels) if objective.labels else f"{objective.score_from:g} and more"
        by = f" by {' or '.join(objective.sources)}" if objective.sources else ""
        return f"evaluation {objective.evaluation} is {wanted}{by}"
    return {"error": "no error", "safety": "moderated, and not flagged"}[objective.kind]


def _whose(objective: Objective) -> str:
    where = ", ".join(f"{key} {' or '.join(values)}" for key, values in objective.where.items())
    return f", of {where}" if where else ""


_EXAMPLE: Final[Mapping[str, Sequence[Version]]] = {
    "example": [
        Version(
            objective=Objective(name="example", kind="latency", target=0.99, latency="ttft", threshold_s=0.5),
            start_ns=None,
            end_ns=None,
        )
    ]
}


def _examples() -> list[Kpi]:
    words = (
        ("ttft of at most 0.5 s", "it keeps to the objective"),
        ("0.99", "target"),
        ("the 30d", "the period"),
        ("30d", "the period"),
    )
    examples = []
    for kpi in [*kpis_of(_EXAMPLE["example"]), *_goodput(goodput_of(_EXAMPLE))]:
        meaning, formula = kpi.meaning, kpi.formula
        for old, new in words:
            meaning, formula = meaning.replace(old, new), formula.replace(old, new)
        name = kpi.name.replace(".example.", ".<name>.")
        examples.append(replace(kpi, name=name, meaning=meaning, formula=formula))
    return examples


OBJECTIVES: Final = Dynamic(prefix="objective.", find=find, examples=_examples())
