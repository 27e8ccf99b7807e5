"""What the report tells: objectives, changes, each family of KPIs against the time before, worst slices, findings, cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from dashboards.report.charts import Drawn, draw
from dashboards.report.found import Found, find
from monitor.kpis import KpiValue, Window, evaluate
from monitor.kpis.registry import REGISTRY
from monitor.kpis.sources.cost import currency_of
from monitor.stats import mover
from monitor.stats.result import Result
from monitor.store import Client
from monitor.store.changes import Change, changes_between
from monitor.store.objectives import read_objectives

FAMILIES: Final[Mapping[str, tuple[str, ...]]] = {
    "Traffic": (
        "traffic.requests", "traffic.input_tokens", "traffic.output_tokens", "traffic.error_rate", "traffic.cancelled_rate",
        "traffic.completeness",
    ),
    "Latency": ("latency.ttft.p50", "latency.ttft.p95", "latency.tpot.p95", "latency.e2e.p50", "latency.e2e.p95"),
    "Accuracy": ("accuracy.correct", "accuracy.estimated", "accuracy.judge_agreement"),
    "Cost": ("cost.total", "cost.per_request", "cost.per_million_tokens", "cost.idle_share", "cost.unpriced"),
    "Engagement": ("engagement.active_users", "engagement.sessions", "engagement.thumbs_up", "engagement.regenerate_rate"),
    "Safety": ("safety.flagged_rate", "safety.blocked_rate", "safety.refusal_rate", "safety.user_reports"),
}  # fmt: skip
CHARTS: Final = (
    "traffic.request_rate", "latency.ttft.p95", "traffic.error_rate", "accuracy.estimated", "cost.total",
    "engagement.active_users",
)  # fmt: skip
SLICED: Final = ("latency.ttft.p95", "traffic.error_rate", "cost.per_request", "accuracy.estimated")
SLICES: Final = ("model", "variant", "node", "service")
SLICES_MAX: Final = 3
CHANGES_MAX: Final = 30


@dataclass(frozen=True, kw_only=True)
class Line:
    """A KPI in this time and in the one before; `word` is what the difference means."""

    value: KpiValue
    before: KpiValue | None
    change: Result
    word: str


@dataclass(frozen=True, kw_only=True)
class Promise:
    """An objective: what is promised, what was kept, what is left of its budget."""

    name: str
    target: float
    attainment: KpiValue | None
    budget: KpiValue | None

    @property
    def kept(self) -> bool | None:
        if self.attainment is None or self.attainment.value is None:
            return None
        return self.attainment.value >= self.target


@dataclass(frozen=True, kw_only=True)
class Slice:
    """The groups of a dimension that are worst by a KPI, the worst first, beside all calls together."""

    name: str
    by: str
    whole: KpiValue | None
    worst: tuple[KpiValue, ...]


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What may be spent in the month, what was, and what it will have been; in the configured currency."""

    name: str
    amount: float
    spent: float
    forecast: float | None
    low: float | None
    high: float | None
    currency: str


@dataclass(frozen=True, kw_only=True)
class Report:
    """Everything, ready to be rendered."""

    window: Window
    made_at: datetime
    promises: tuple[Promise, ...]
    changes: tuple[Change, ...]
    families: Mapping[str, tuple[Line, ...]]
    slices: tuple[Slice, ...]
    found: Found
    budgets: tuple[Budget, ...]
    charts: tuple[Drawn, ...]
    notes: tuple[str, ...]
    currency: str

    @property
    def requests(self) -> float:
        """Calls of this time."""
        lines = self.families.get("Traffic", ())
        return next((line.value.value or 0.0 for line in lines if line.value.name == "traffic.requests"), 0.0)


def gather(client: Client, window: Window, *, now: datetime) -> Report:
    """Ask the store for everything; what it does not know is left out, and said under `notes`."""
    before = Window(window.start - (window.end - window.start), window.start)
    names = [name for family in FAMILIES.values() for name in family]
    here, there = _values(client, names, window), _values(client, names, before)
    families = {
        family: tuple(_line(here[name], there.get(name)) for name in wanted if _known(here.get(name)))
        for family, wanted in FAMILIES.items()
    }
    missing = [family.lower() for family, lines in families.items() if not any(line.value.n for line in lines)]
    notes = [f"Nothing is known of {', '.join(missing)} in this time."] if missing else []
    return Report(
        window=window,
        made_at=now,
        promises=_promises(client, window),
        changes=tuple(changes_between(client, window.start, window.end)[-CHANGES_MAX:]),
        families={family: lines for family, lines in families.items() if any(line.value.n for line in lines)},
        slices=_slices(client, window, here),
        found=find(client, window),
        budgets=_budgets(client),
        charts=draw(client, window, [name for name in CHARTS if name not in here or _known(here[name])]),
        notes=tuple(notes),
        currency=currency_of(client),
    )


def _values(client: Client, names: Sequence[str], window: Window) -> dict[str, KpiValue]:
    return {value.name: value for value in evaluate(client, names, window=window) if not value.group}


def _known(value: KpiValue | None) -> bool:
    return value is not None and value.value is not None


def _line(value: KpiValue, before: KpiValue | None) -> Line:
    share = value.unit == "1"
    change = (mover.difference if share else mover.ratio)(_result(before), _result(value))
    better = REGISTRY[value.name].better if value.name in REGISTRY else None
    return Line(value=value, before=before, change=change, word=_word(change, share, better))


def _word(change: Result, share: bool, better: str | None) -> str:
    nothing = 0.0 if share else 1.0
    if change.value is None or change.low is None or change.high is None:
        return ""
    if change.low <= nothing <= change.high:
        return "no difference shown"
    more = change.low > nothing
    return ("more" if more else "less") if better is None else "better" if more == (better == "higher") else "worse"


def _result(value: KpiValue | None) -> Result:
    if value is None:
        return Result(value=None)
    return Result(value=value.value, low=value.low, high=value.high, n=value.n, note=value.note)


def _promises(client: Client, window: Window) -> tuple[Promise, ...]:
    found = []
    for name, versions in read_objectives(client).items():
        values = {each.name: each for each in evaluate(client, [f"objective.{name}"], window=window) if not each.group}
        found.append(
            Promise(
                name=name,
                target=versions[-1].objective.target,
                attainment=values.get(f"objective.{name}.attainment"),
                budget=values.get(f"objective.{name}.error_budget"),
            )
        )
    return tuple(found)


def _slices(client: Client, window: Window, whole: Mapping[str, KpiValue]) -> tuple[Slice, ...]:
    found = []
    names = [name for name in SLICED if _known(whole.get(name))]
    for by in SLICES if names else ():
        groups: dict[str, list[KpiValue]] = {}
        for value in evaluate(client, names, window=window, by=(by,), groups_max=50):
            if value.group and value.value is not None:
                groups.setdefault(value.name, []).append(value)
        for name, values in groups.items():
            worst = [each for each in values if _is_worse(each, whole[name])]
            worst.sort(key=lambda each: each.value or 0.0, reverse=REGISTRY[name].better == "lower")
            if len(values) > 1 and worst:
                found.append(Slice(name=name, by=by, whole=whole[name], worst=tuple(worst[:SLICES_MAX])))
    return tuple(found)


def _is_worse(value: KpiValue, whole: KpiValue) -> bool:
    """Beyond what chance explains: its interval leaves out the value of all calls."""
    if value.low is None or value.high is None or whole.value is None:
        return False
    return value.low > whole.value if REGISTRY[value.name].better == "lower" else value.high < whole.value


def _budgets(client: Client) -> tuple[Budget, ...]:
    rows = client.query(
        "SELECT name, amount / 1e9, spent / 1e9, forecast, low, high, toString(currency) FROM cost_budgets FINAL"
        " WHERE month = (SELECT max(month) FROM cost_budgets FINAL) ORDER BY name"
    ).result_rows
    return tuple(
        Budget(name=name, amount=amount, spent=spent, forecast=forecast, low=low, high=high, currency=currency)
        for name, amount, spent, forecast, low, high, currency in rows
    )
