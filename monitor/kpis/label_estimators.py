"""Estimators over judged calls: what `monitor.stats` makes of labels, verdicts and confidences that the store summed up."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from monitor.kpis.estimators import Estimate, Measure, W, none_of, weighted_share
from monitor.stats import agreement, classification
from monitor.stats.confusion import Confusion
from monitor.stats.label_sums import LabelledSums, PredictedSums, Stratum
from monitor.stats.prediction_powered import labels_needed, prediction_powered_proportion
from monitor.stats.result import Result, insufficient

Row = Mapping[str, Any]
ClassScore = Literal["precision", "recall", "f1"]
# Strata of time: labels may be given at another rate in each hour.
_HOUR: Final = "toInt64(intDiv(toUnixTimestamp(timestamp), 3600))"
_BOTH: Final = "(isNotNull(right_) AND isNotNull(verdict))"
_SCORED: Final = "(isNull(right_) AND isNotNull(verdict))"
_SEPARATOR: Final = "\x1f"


@dataclass(frozen=True, kw_only=True)
class Proportion:
    """Weighted share of the rows that have a measure for which something is true."""

    of: Measure
    hit: Measure

    @property
    def method(self) -> str:
        return "wilson"

    @property
    def interval(self) -> str:
        return "Wilson's; for sampled calls with the effective number of calls from the share's own linearised variance"

    @property
    def ingredients(self) -> Mapping[str, str]:
        return {**self.of.pick("n", "w", "ww"), **self.hit.pick("n", "w", "ww")}

    def estimate(self, row: Row, *, seconds: float) -> Estimate:
        of, hit = self.of.name, self.hit.name
        n = int(row[f"{of}__n"])
        if not n:
            return Estimate(value=None, method=self.method, note=none_of(row, self.of))
        found = weighted_share(row[f"{of}__w"], row[f"{of}__ww"], row[f"{hit}__w"], row[f"{hit}__ww"])
        return Estimate(value=found.share, low=found.low, high=found.high, n=n, method=self.method)


@dataclass(frozen=True, kw_only=True)
class Powered:
    """Accuracy from few labels and many verdicts of a judge; or how many more labels would make it ±1 point."""

    answer: Literal["value", "labels_needed"] = "value"

    @property
    def method(self) -> str:
        return "prediction-powered" if self.answer == "value" else "normal"

    @property
    def interval(self) -> str:
        if self.answer == "labels_needed":
            return "none: it is a plan, from the variances that the labels have so far"
        return (
            "Wilson's with the effective number of labels that label and verdict variances come to, stratified by hour"
        )

    @property
    def ingredients(self) -> Mapping[str, str]:
        y, f = "assumeNotNull(right_)", "assumeNotNull(verdict)"
        labelled = {
            "n": "1", "w": W, "ww": f"{W} * {W}", "wy": f"{W} * {y}", "wf": f"{W} * {f}", "wwy": f"{W} * {W} * {y}",
            "wwf": f"{W} * {W} * {f}", "wwyy": f"{W} * {W} * {y} * {y}", "wwyf": f"{W} * {W} * {y} * {f}",
            "wwff": f"{W} * {W} * {f} * {f}",
        }  # fmt: skip
        predicted = {name: labelled[name] for name in ("n", "w", "ww", "wf", "wwf", "wwff")}
        return {
            **{f"both__{name}_by_hour": _by_hour(sql, _BOTH) for name, sql in labelled.items()},
            **{f"scored__{name}_by_hour": _by_hour(sql, _SCORED) for name, sql in predicted.items()},
        }

    def estimate(self, row: Row, *, seconds: float) -> Estimate:
        found = prediction_powered_proportion(_strata(row))
        if self.answer == "labels_needed":
            return from_result(labels_needed(found, half_width=0.01))
        notes = [found.note]
        if found.power is not None and found.effective_n is not None:
            notes.append(f"{found.n} labels and {found.n_predicted} verdicts, worth {found.effective_n:.0f} labels")
        return Estimate(
            value=found.value,
            low=found.low,
            high=found.high,
            n=found.n,
            method=self.method,
            note="; ".join(note for note in notes if note),
        )


@dataclass(frozen=True, kw_only=True)
class Classes:
    """A score of answers that are classes, from the table of true classes against answered ones."""

    score: ClassScore

    @property
    def method(self) -> str:
        return f"macro-{self.score}"

    @property
    def interval(self) -> str:
        return "see `docs/statistics.md`, scores of classes; the mean of the classes in which it is defined"

    @property
    def ingredients(self) -> Mapping[str, str]:
        pair = f"concat(truth_class, '{_SEPARATOR}', answer_class)"
        known = "(truth_class != '' AND answer_class != '')"
        return {
            "pairs__n_by_pair": f"sumMapIf(map({pair}, toFloat64(1)), {known})",
            "pairs__w_by_pair": f"sumMapIf(map({pair}, toFloat64({W})), {known})",
            "pairs__ww_by_pair": f"sumMapIf(map({pair}, toFloat64({W} * {W})), {known})",
        }

    def estimate(self, row: Row, *, seconds: float) -> Estimate:
        counts: Mapping[str, float] = row["pairs__n_by_pair"]
        if not counts:
            note = f"none of {row['calls__n']} judged calls has both a class as its truth and one as its answer"
            return Estimate(value=None, method=self.method, note=note)
        table = Confusion.from_sums(
            (*pair.split(_SEPARATOR), int(n), row["pairs__w_by_pair"][pair], row["pairs__ww_by_pair"][pair])
            for pair, n in counts.items()
        )
        scores = classification.classify(table)
        macro = {"precision": scores.macro_precision, "recall": scores.macro_recall, "f1": scores.macro_f1}
        return from_result(macro[self.score])


@dataclass(frozen=True, kw_only=True)
class Kappa:
    """Agreement of judge and people beyond chance."""

    @property
    def method(self) -> str:
        return "dirichlet-posterior"

    @property
    def interval(self) -> str:
        return "of the posterior of the table of verdicts, simulated; see `docs/statistics.md`"

    @property
    def ingredients(self) -> Mapping[str, str]:
        pair = f"concat(if(right_ >= 0.5, '1', '0'), '{_SEPARATOR}', if(verdict >= 0.5, '1', '0'))"
        return {
            "verdicts__n_by_pair": f"sumMapIf(map({pair}, toFloat64(1)), {_BOTH})",
            "verdicts__w_by_pair": f"sumMapIf(map({pair}, toFloat64({W})), {_BOTH})",
            "verdicts__ww_by_pair": f"sumMapIf(map({pair}, toFloat64({W} * {W})), {_BOTH})",
        }

    def estimate(self, row: Row, *, seconds: float) -> Estimate:
        table = Confusion.from_sums(
            (*pair.split(_SEPARATOR), int(n), row["verdicts__w_by_pair"][pair], row["verdicts__ww_by_pair"][pair])
            for pair, n in row["verdicts__n_by_pair"].items()
        )
        return from_result(agreement.cohen_kappa(table))


@dataclass(frozen=True, kw_only=True)
class AgreementChange:
    """Agreement of judge and people, less that of the window before: whether the judge itself has drifted."""

    @property
    def method(self) -> str:
        return "mover"

    @property
    def interval(self) -> str:
        return "from the two Wilson intervals (Newcombe's method 10); one that leaves 0 out is a change beyond chance"

    @property
    def ingredients(self) -> Mapping[str, str]:
        agreed = f"({_BOTH} AND (right_ >= 0.5) = (verdict >= 0.5))"
        found = {}
        for when, condition in (("now", "NOT is_before"), ("before", "is_before")):
            for what, hit in (("of", _BOTH), ("agreed", agreed)):
                both = f"({condition} AND {hit})"
                found[f"{when}__{what}__n"] = f"countIf({both})"
                found[f"{when}__{what}__w"] = f"sumIf({W}, {both})"
                found[f"{when}__{what}__ww"] = f"sumIf({W} * {W}, {both})"
        return found

    def estimate(self, row: Row, *, seconds: float) -> Estimate:
        return from_result(agreement.difference(_share(row, "now"), _share(row, "before")))


def _share(row: Row, when: str) -> Result:
    n = int(row[f"{when}__of__n"])
    if not n:
        return insufficient("no call with both a label and a verdict", method="wilson")
    sums = (row[f"{when}__{what}__{power}"] for what in ("of", "agreed") for power in ("w", "ww"))
    found = weighted_share(*sums)
    return Result(value=found.share, low=found.low, high=found.high, n=n, method="wilson")


def _by_hour(value: str, condition: str) -> str:
    return f"sumMapIf(map({_HOUR}, toFloat64({value})), {condition})"


def _strata(row: Row) -> list[Stratum]:
    labelled = {name: row[f"both__{name}_by_hour"] for name in LabelledSums.__dataclass_fields__}
    predicted = {name: row[f"scored__{name}_by_hour"] for name in PredictedSums.__dataclass_fields__}
    return [
        Stratum(labelled=LabelledSums(**_at(labelled, hour)), predicted=PredictedSums(**_at(predicted, hour)))
        for hour in sorted({*labelled["n"], *predicted["n"]})
    ]


def _at(sums: Mapping[str, Mapping[int, float]], hour: int) -> dict[str, Any]:
    convert: Callable[[str, float], float] = lambda name, value: int(value) if name == "n" else value  # noqa: E731
    return {name: convert(name, float(by_hour.get(hour, 0.0))) for name, by_hour in sums.items()}


def from_result(result: Result) -> Estimate:
    return Estimate(
        value=result.value, low=result.low, high=result.high, n=result.n, method=result.method, note=result.note
    )
