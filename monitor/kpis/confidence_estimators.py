"""Estimators over a model's own confidence: how far it is from the truth, and what accuracy it lets one expect."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from monitor.kpis.estimators import Estimate, W
from monitor.kpis.label_estimators import from_result
from monitor.stats.calibrated import Kind, Scored, calibrate, expected
from monitor.stats.calibration_error import Bins, calibration_error

Row = Mapping[str, Any]
# A hundred bins in the store.
_BIN: Final = "toInt16(least(99, floor(assumeNotNull(confidence) * 100)))"
_CONFIDENT: Final = "isNotNull(confidence)"
_KNOWN: Final = f"(isNotNull(right_) AND {_CONFIDENT})"
# Labels from which a calibration by bins is surer than a line over the logit.
_BINNED_FROM: Final = 2000


@dataclass(frozen=True, kw_only=True)
class Expected:
    """Accuracy to be expected from calibrated confidence, where only some calls have labels (CBPE)."""

    @property
    def method(self) -> str:
        return "cbpe"

    @property
    def interval(self) -> str:
        return "of the expectation, with the error that the finite number of labels leaves; see `docs/statistics.md`"

    @property
    def ingredients(self) -> Mapping[str, str]:
        hit = f"({_KNOWN} AND right_ >= 0.5)"
        return {
            "confident__n_by_bin": _by_bin("1", _CONFIDENT),
            "confident__w_by_bin": _by_bin(W, _CONFIDENT),
            "confident__ww_by_bin": _by_bin(f"{W} * {W}", _CONFIDENT),
            "confident__sum_by_bin": _by_bin("confidence", _CONFIDENT),
            "labelled__n_by_bin": _by_bin("1", _KNOWN),
            "labelled__hits_by_bin": _by_bin("1", hit),
        }

    def estimate(self, row: Row, *, seconds: float) -> Estimate:
        counts: Mapping[int, float] = row["confident__n_by_bin"]
        if not counts:
            note = f"none of {row['calls__n']} judged calls has a confidence"
            return Estimate(value=None, method=self.method, note=note)
        order = sorted(counts)
        n, w, ww, total, labels, hits = (
            np.array([float(row[name].get(each, 0.0)) for each in order]) for name in self.ingredients
        )
        score = total / n  # the mean confidence of a bin stands for all of it
        kind: Kind = "binned" if labels.sum() >= _BINNED_FROM else "platt"
        # Each bin twice: its right answers, and its wrong ones.
        weights = np.concatenate([hits, labels - hits])
        there = weights > 0
        calibration = calibrate(
            np.tile(score, 2)[there], np.repeat([1.0, 0.0], len(score))[there], weights[there], kind=kind
        )
        window = Scored(score=score, predicted=np.ones_like(score), w=w, ww=ww, n=int(n.sum()))
        found = from_result(expected("accuracy", calibration, window))
        return Estimate(**{**found.__dict__, "note": found.note or f"calibrated ({kind}) on {labels.sum():.0f} labels"})


@dataclass(frozen=True, kw_only=True)
class CalibrationError:
    """How far a model's own confidence is from how often it is right."""

    @property
    def method(self) -> str:
        return "test-inversion-bootstrap"

    @property
    def interval(self) -> str:
        return "of the errors for which what was measured is not surprising, simulated; see `docs/statistics.md`"

    @property
    def ingredients(self) -> Mapping[str, str]:
        sums = {"n": "1", "w": W, "ww": f"{W} * {W}", "right": f"{W} * right_", "confidence": f"{W} * confidence"}
        return {f"confidence__{name}_by_bin": _by_bin(sql, _KNOWN) for name, sql in sums.items()}

    def estimate(self, row: Row, *, seconds: float) -> Estimate:
        counts: Mapping[int, float] = row["confidence__n_by_bin"]
        if not counts:
            note = f"none of {row['calls__n']} judged calls has both a label and a confidence"
            return Estimate(value=None, method=self.method, note=note)
        return from_result(calibration_error(_joined_bins(row, sorted(counts))))


def _joined_bins(row: Row, order: list[int]) -> Bins:
    """Bins of about equal numbers of rows, from the store's hundred."""
    columns = {
        name: np.array([float(row[f"confidence__{name}_by_bin"][each]) for each in order])
        for name in ("n", "w", "ww", "right", "confidence")
    }
    n = columns["n"].sum()
    wanted = max(1, min(10, int(n // 20)))
    # The bin that a row's rank falls into; ranks are those of the middle of each of the hundred.
    place = np.minimum(wanted - 1, ((np.cumsum(columns["n"]) - columns["n"] / 2) / n * wanted).astype(int))
    used = np.unique(place)
    sums = {name: np.array([values[place == each].sum() for each in used]) for name, values in columns.items()}
    return Bins(w=sums["w"], ww=sums["ww"], right=sums["right"], confidence=sums["confidence"], n=int(n))


def _by_bin(value: str, condition: str) -> str:
    return f"sumMapIf(map({_BIN}, toFloat64(assumeNotNull({value}))), {condition})"
