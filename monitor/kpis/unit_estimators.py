"""Estimators over users, sessions and thumbs: units that cannot be scaled up where calls are sampled, and those who answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from monitor.kpis.estimators import Estimate, Estimator, Measure, W, none_of
from monitor.stats import intervals
from monitor.stats.feedback import AnswerSums, post_stratified

Row = Mapping[str, Any]
_SEPARATOR: Final = "\x1f"


@dataclass(frozen=True, kw_only=True)
class Count:
    """How many units there are for which a measure has a value."""

    of: Measure

    @property
    def method(self) -> str:
        return "exact"

    @property
    def interval(self) -> str:
        return (
            "none: it is a count of all that are stored; where calls were sampled, a lower bound. Of very many a sample is"
            " counted and scaled up (method `sample`), with a normal interval"
        )

    @property
    def ingredients(self) -> Mapping[str, str]:
        return self.of.pick("n")

    def estimate(self, row: Row, *, seconds: float) -> Estimate:
        found, n, share = int(row[f"{self.of.name}__n"]), int(row["calls__n"]), float(row.get("unit__share", 1.0))
        if share == 1:
            return Estimate(value=float(found), n=n, method=self.method)
        low, high = intervals.total_interval(found / share, found * (1 - share) / share**2, at_least=found)
        return Estimate(value=found / share, low=low, high=high, n=n, method="sample")


@dataclass(frozen=True, kw_only=True)
class OfUnits:
    """An estimator over users or sessions, with a note where their calls were sampled or the store is young.

    Parameters
    ----------
    by : Estimator
    sampled : str
        What sampling does to the number; it completes "calls were sampled: …".
    young : str
        What it means that the store begins with the window or cohort; empty where it means nothing.
    """

    by: Estimator
    sampled: str
    young: str = ""

    @property
    def method(self) -> str:
        return self.by.method

    @property
    def interval(self) -> str:
        return self.by.interval

    @property
    def ingredients(self) -> Mapping[str, str]:
        young = {"young__max": "max(all_new)"} if self.young else {}
        return {**self.by.ingredients, **young}

    def estimate(self, row: Row, *, seconds: float) -> Estimate:
        found = self.by.estimate(row, seconds=seconds)
        notes = [found.note]
        if (share := float(row.get("unit__share", 1.0))) < 1:
            notes.append(f"from a sample of 1 in {1 / share:.3g}")
        if row["kept__w_max"] > 1:
            notes.append(f"calls were sampled: {self.sampled}")
        if self.young and row["young__max"]:
            notes.append(self.young)
        return replace(found, note="; ".join(note for note in notes if note))


@dataclass(frozen=True, kw_only=True)
class Corrected:
    """Share of thumbs that are up, as if all calls had been answered like those that are like them.

    `strata` is SQL of what tells calls apart, the most telling first.
    """

    answered: Measure
    up: Measure
    strata: tuple[str, ...]

    @property
    def method(self) -> str:
        return "post-stratified"

    @property
    def interval(self) -> str:
        return (
            "Wilson's with the number of answers that a plain share would need for the stratified variance; strata with"
            " fewer than 5 answers are joined"
        )

    @property
    def ingredients(self) -> Mapping[str, str]:
        between = f", '{_SEPARATOR}', "
        key = f"concat({between.join(self.strata)})"
        sums = {
            "calls": ("1", W),
            "n": (self.answered.condition, "1"),
            "w": (self.answered.condition, W),
            "ww": (self.answered.condition, f"{W} * {W}"),
            "hits": (self.up.condition, W),
            "hits_ww": (self.up.condition, f"{W} * {W}"),
        }
        return {
            f"strata__{name}_by_key": f"sumMapIf(map({key}, toFloat64({value})), {condition})"
            for name, (condition, value) in sums.items()
        }

    def estimate(self, row: Row, *, seconds: float) -> Estimate:
        if not row["strata__n_by_key"]:
            return Estimate(value=None, method=self.method, note=none_of(row, self.answered))
        found = post_stratified(_strata(row))
        raw = found.raw
        plain = "" if raw.value is None else f"raw {raw.value:.1%} ({raw.low or 0:.1%} to {raw.high or 0:.1%})"
        note = f"{plain}; {found.n} answers in {found.strata} strata, worth {found.effective_n:.0f}"
        return Estimate(value=found.value, low=found.low, high=found.high, n=found.n, method=found.method, note=note)


def _strata(row: Row) -> list[AnswerSums]:
    names = ("n", "w", "ww", "hits", "hits_ww")
    return [
        AnswerSums(
            key=tuple(key.split(_SEPARATOR)),
            calls=float(calls),
            **{name: _number(name, row[f"strata__{name}_by_key"].get(key, 0.0)) for name in names},
        )
        for key, calls in row["strata__calls_by_key"].items()
    ]


def _number(name: str, value: float) -> Any:
    return int(value) if name == "n" else float(value)
