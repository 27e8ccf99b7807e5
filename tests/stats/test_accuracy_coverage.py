"""How often the intervals of accuracy hold the truth, simulated: seeded, and bounded in time.

A share of few rows can take few values, and the coverage of any interval jumps with the true share; so shares are drawn
from a narrow band in each run, and it is the mean over the band that is held to the level.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special

from monitor.stats import agreement as ag
from monitor.stats.calibrated import Metric, Scored, calibrate, expected, expected_roc_auc
from monitor.stats.calibration_error import Bins, calibration_error
from monitor.stats.classification import classify, macro_f1_of
from monitor.stats.confusion import Confusion
from monitor.stats.label_sums import LabelledSums, PredictedSums, Stratum
from monitor.stats.prediction_powered import prediction_powered_mean, prediction_powered_proportion
from monitor.stats.ranking import roc_auc
from monitor.stats.result import Result

# Three standard errors of a simulated coverage of 95 %: 3 · sqrt(0.95 · 0.05 / 4000) = 0.0103. Where a case has fewer
# runs, to save time, its band is wider by what 1000 runs allow for.
RUNS = 4000
LOW, HIGH = 0.935, 0.965

LEVELS = np.array([0.0, 0.25, 0.5, 0.75, 1.0])
# Distribution of a judge's score over LEVELS where the answer is wrong, and where it is right.
JUDGES = {
    "good": ((0.60, 0.20, 0.10, 0.05, 0.05), (0.03, 0.05, 0.10, 0.20, 0.62)),
    "bad": ((0.30, 0.20, 0.20, 0.15, 0.15), (0.15, 0.15, 0.20, 0.20, 0.30)),
    "useless": ((0.10, 0.10, 0.20, 0.30, 0.30), (0.10, 0.10, 0.20, 0.30, 0.30)),
    "yes or no": ((0.90, 0.0, 0.0, 0.0, 0.10), (0.10, 0.0, 0.0, 0.0, 0.90)),
    "spotless": ((0.99, 0.0, 0.0, 0.0, 0.01), (0.01, 0.0, 0.0, 0.0, 0.99)),
}
BANDS = [(0.04, 0.10), (0.25, 0.45), (0.45, 0.65), (0.75, 0.85), (0.90, 0.96)]


def holds(found: Result, truth: float) -> bool:
    assert found.low is not None
    assert found.high is not None
    return found.low <= truth <= found.high


def judged(n: int, band: tuple[float, float], judge: str, *, runs: int = RUNS) -> tuple[float, float]:
    """Coverage of the prediction-powered and of the classical interval."""
    generator = np.random.default_rng(n)
    shares = generator.uniform(*band, runs)
    wrong, right = (np.array(each) for each in JUDGES[judge])
    cells = np.concatenate([(1 - shares)[:, None] * wrong, shares[:, None] * right], axis=1)
    y, f = np.repeat([0.0, 1.0], 5), np.tile(LEVELS, 2)
    labelled = generator.multinomial(n, cells) @ np.column_stack([y, f, y * y, y * f, f * f])
    rest = generator.multinomial(5000, cells[:, :5] + cells[:, 5:]) @ np.column_stack([LEVELS, LEVELS**2])
    held = np.zeros(2)
    for truth, one, other in zip(shares, labelled, rest, strict=True):
        part = Stratum(
            labelled=LabelledSums.unweighted(n=n, y=one[0], f=one[1], yy=one[2], yf=one[3], ff=one[4]),
            predicted=PredictedSums.unweighted(n=5000, f=other[0], ff=other[1]),
        )
        found = prediction_powered_proportion([part])
        held += holds(found, truth), holds(found.classical, truth)
    return held[0] / runs, held[1] / runs


@pytest.mark.parametrize("judge", ["good", "bad", "useless", "yes or no"])
@pytest.mark.parametrize("n", [30, 100, 1000])
def test_prediction_powered_proportion(n: int, judge: str) -> None:
    found = np.array([judged(n, band, judge, runs=RUNS // 4) for band in BANDS])
    # Each band has a thousand runs: three standard errors are 0.021; the mean has five thousand, and is held to the level.
    assert (found > 0.95 - 0.03).all()
    assert LOW <= found[:, 1].mean() <= HIGH
    assert LOW <= found[:, 0].mean() <= HIGH


def test_few_labels_under_a_spotless_judge_are_never_too_sure() -> None:
    # With 0.3 disagreements expected among 30 labels no interval can be exact; with 10 among 1000 it is.
    assert min(judged(30, band, "spotless", runs=500)[0] for band in BANDS) > 0.97
    assert LOW <= judged(1000, BANDS[3], "spotless")[0] <= HIGH


# Of skewed labels with unequal weights, 30 are a little too few: the coverage is 0.933, as that of any t interval.
@pytest.mark.parametrize(
    ("n", "noise", "weighted", "skewed", "low"),
    [
        (30, 1.0, False, True, LOW),
        (30, 5.0, True, False, LOW),
        (30, 5.0, True, True, 0.92),
        (100, 1.0, True, True, LOW),
        (1000, 0.3, False, True, LOW),
    ],
)
def test_prediction_powered_mean(n: int, noise: float, weighted: bool, skewed: bool, low: float) -> None:
    generator = np.random.default_rng(1)
    held, rows = np.zeros(2), 2 * n + 500
    for _ in range(RUNS):
        truth = generator.gamma(4, 0.5, rows) if skewed else generator.normal(2, 1, rows)
        score = truth + noise * generator.normal(size=rows) + 0.7
        w = np.where(generator.random(rows) < 0.5, 1.0, 4.0) if weighted else np.ones(rows)
        part = Stratum(
            labelled=LabelledSums.of(truth[:n], score[:n], w[:n]), predicted=PredictedSums.of(score[n:], w[n:])
        )
        found = prediction_powered_mean([part])
        held += holds(found, 2.0), holds(found.classical, 2.0)
    assert low <= held[0] / RUNS <= HIGH
    assert low <= held[1] / RUNS <= HIGH


@pytest.mark.parametrize("labels", [[10] * 6, [50, 20, 10, 10, 30, 40], [5] * 24])
def test_strata_with_label_rates_of_their_own(labels: list[int]) -> None:
    generator = np.random.default_rng(2)
    shares, calls = np.linspace(0.6, 0.95, len(labels)), np.linspace(200, 2000, len(labels)).astype(int)
    truth, held = float(shares @ calls / calls.sum()), np.zeros(2)
    y, f = np.array([0.0, 0.0, 1.0, 1.0]), np.array([0.0, 1.0, 0.0, 1.0])
    cells = np.column_stack([(1 - shares) * 0.9, (1 - shares) * 0.1, shares * 0.1, shares * 0.9])
    drawn = [
        generator.multinomial(n, cell, RUNS) @ np.column_stack([y, f, y * f])
        for n, cell in zip(labels, cells, strict=True)
    ]
    yes = [
        generator.binomial(int(m - n), cell[1] + cell[3], RUNS) for m, n, cell in zip(calls, labels, cells, strict=True)
    ]
    for run in range(RUNS):
        parts = []
        for h, n in enumerate(labels):
            a, b, ab = drawn[h][run]
            k = float(yes[h][run])
            parts.append(
                Stratum(
                    labelled=LabelledSums.unweighted(n=n, y=a, f=b, yy=a, yf=ab, ff=b),
                    predicted=PredictedSums.unweighted(n=int(calls[h]) - n, f=k, ff=k),
                )
            )
        found = prediction_powered_proportion(parts)
        held += holds(found, truth), holds(found.classical, truth)
    assert LOW <= held[0] / RUNS <= HIGH
    assert LOW <= held[1] / RUNS <= HIGH


def tables(shares: np.ndarray, n: int, runs: int) -> list[Confusion]:
    drawn = np.random.default_rng(3).multinomial(n, shares.ravel(), runs).reshape(runs, *shares.shape).astype(float)
    names = tuple("abcdef"[: len(shares)])
    return [Confusion(classes=names, w=table, ww=table, n=n) for table in drawn]


def two(share: float, error: float) -> np.ndarray:
    return np.array([[(1 - share) * (1 - error), (1 - share) * error], [share * error, share * (1 - error)]])


THREE = np.full((3, 3), 0.05) + np.diag([0.35, 0.15, 0.05])


@pytest.mark.parametrize("n", [30, 100])
@pytest.mark.parametrize(
    "shares", [two(0.5, 0.1), two(0.8, 0.05), two(0.5, 0.4), THREE], ids=["good", "rare", "poor", "three"]
)
def test_kappa(shares: np.ndarray, n: int) -> None:
    truth = float(ag.kappa_of(shares))
    found = [holds(ag.cohen_kappa(table, seed=seed), truth) for seed, table in enumerate(tables(shares, n, 800))]
    assert LOW - 0.021 <= np.mean(found) <= HIGH + 0.021


def test_kappa_and_its_drift_at_length() -> None:
    shares, later = two(0.7, 0.1), two(0.7, 0.2)
    one, other = tables(shares, 100, RUNS), tables(later, 150, RUNS)[::-1]
    truth, change = float(ag.kappa_of(shares)), float(ag.kappa_of(later) - ag.kappa_of(shares))
    before, after = [ag.cohen_kappa(table) for table in one], [ag.cohen_kappa(table) for table in other]
    assert LOW <= np.mean([holds(each, truth) for each in before]) <= HIGH
    assert LOW <= np.mean([holds(ag.difference(b, a), change) for a, b in zip(before, after, strict=True)]) <= HIGH


@pytest.mark.parametrize("n", [100, 1000])
def test_scores_of_classes(n: int) -> None:
    truths = {
        "accuracy": float(np.trace(THREE)),
        "balanced": float((np.diag(THREE) / THREE.sum(axis=1)).mean()),
        "macro precision": float((np.diag(THREE) / THREE.sum(axis=0)).mean()),
        "macro f1": float(macro_f1_of(THREE)),
        "f1": float(2 * THREE[1, 1] / (THREE[1].sum() + THREE[:, 1].sum())),
        "precision": float(THREE[1, 1] / THREE[:, 1].sum()),
        "recall": float(THREE[1, 1] / THREE[1].sum()),
    }
    held = dict.fromkeys(truths, 0)
    runs = 1000
    for table in tables(THREE, n, runs):
        found = classify(table)
        results = {
            "accuracy": found.accuracy,
            "balanced": found.balanced_accuracy,
            "macro precision": found.macro_precision,
            "macro f1": found.macro_f1,
            "f1": found.classes["b"].f1,
            "precision": found.classes["b"].precision,
            "recall": found.classes["b"].recall,
        }
        for name, result in results.items():
            held[name] += holds(result, truths[name])
    for name, hits in held.items():
        assert LOW - 0.021 <= hits / runs <= HIGH + 0.021, name


@pytest.mark.parametrize("n", [30, 100, 1000])
def test_correlations(n: int) -> None:
    generator = np.random.default_rng(4)
    held = {"binary": 0, "normal": 0, "ranks": 0}
    r, runs = 0.6, 1000
    x, e = generator.normal(size=(runs, n)), generator.normal(size=(runs, n))
    score = r * x + np.sqrt(1 - r * r) * e
    # A label of 1 where x > 0: correlation r · sqrt(2 / π).
    for one, other in zip(x, score, strict=True):
        held["normal"] += holds(ag.pearson(one, other), r)
        held["binary"] += holds(ag.pearson((one > 0) * 1.0, other), r * np.sqrt(2 / np.pi))
        held["ranks"] += holds(ag.spearman(one, np.exp(other)), 6 / np.pi * np.arcsin(r / 2))
    for name, hits in held.items():
        assert LOW - 0.021 <= hits / runs <= HIGH + 0.021, name


@pytest.mark.parametrize(("labels", "shift"), [(300, 0.0), (100, 1.0)])
def test_expected_accuracy_from_confidence(labels: int, shift: float) -> None:
    """Scores are off by a line in the logit; the window's scores may have shifted. 101 distinct scores."""
    generator = np.random.default_rng(5)
    scores = np.arange(101) / 100
    middle = np.clip(scores, 0.005, 0.995)
    right = special.expit(-0.3 + 0.8 * special.logit(np.clip(scores, 1e-3, 1 - 1e-3)))
    reference, window = (middle ** (1 + more) * (1 - middle) ** 0.2 for more in (0.0, shift))
    reference, window = reference / reference.sum(), window / window.sum()
    yes = scores >= 0.5
    hit, alarm, missed = window[yes] @ right[yes], window[yes] @ (1 - right[yes]), window[~yes] @ right[~yes]
    pairs = np.sign(scores[:, None] - scores) / 2 + 0.5
    truths: dict[Metric | str, float] = {
        "accuracy": float(hit + window[~yes] @ (1 - right[~yes])),
        "precision": float(hit / (hit + alarm)),
        "recall": float(hit / (hit + missed)),
        "f1": float(2 * hit / (2 * hit + alarm + missed)),
        "auc": float((window * right) @ pairs @ (window * (1 - right)) / ((window @ right) * (window @ (1 - right)))),
    }
    runs, held = 1000, dict.fromkeys(truths, 0)
    for rows, hits_of in ((generator.multinomial(labels, reference, runs), generator.multinomial(500, window, runs)),):
        for count, seen in zip(rows, hits_of, strict=True):
            hits = generator.binomial(count, right)
            calibration = calibrate(
                np.tile(scores, 2), np.repeat([1.0, 0.0], 101), np.concatenate([hits, count - hits])
            )
            some = seen > 0
            w = seen[some].astype(float)
            seen_rows = Scored(score=scores[some], predicted=yes[some] * 1.0, w=w, ww=w, n=500)
            for name, truth in truths.items():
                found = (
                    expected_roc_auc(calibration, seen_rows)
                    if name == "auc"
                    else expected(name, calibration, seen_rows)  # type: ignore[arg-type]
                )
                held[name] += holds(found, truth)
    for name, hits in held.items():
        assert LOW - 0.021 <= hits / runs <= HIGH + 0.021, name


def test_binned_calibration_and_the_area() -> None:
    generator = np.random.default_rng(6)
    held, runs = np.zeros(2), 1000
    for _ in range(runs):
        s = generator.random(2000)
        y = (generator.random(2000) < s**2) * 1.0
        found = expected("accuracy", calibrate(s, y, kind="binned"), Scored.of(generator.random(500)))
        # ∫ s² = 1/3; and of a random pair (density 3s² against 1.5(1 - s²)) the right one is higher in 7/8.
        held += holds(found, 1 / 3), holds(roc_auc(s[:200], y[:200]), 7 / 8)
    assert LOW - 0.021 <= held[0] / runs <= HIGH + 0.021
    assert LOW - 0.021 <= held[1] / runs <= HIGH + 0.021


@pytest.mark.parametrize(("n", "slope"), [(100, 0.9), (300, 0.6), (1000, 0.2), (1000, 1.0)])
def test_calibration_error(n: int, slope: float) -> None:
    """Confidence that is off by a factor in its logit; the truth is the error between the population's own bins."""
    generator = np.random.default_rng(7)

    def draw(rows: int) -> tuple[np.ndarray, np.ndarray]:
        confidence = generator.beta(4, 1.5, rows)
        return confidence, special.expit(slope * special.logit(confidence))

    confidence, right = draw(400_000)
    bins = min(10, n // 20)
    at = np.searchsorted(np.quantile(confidence, np.arange(1, bins) / bins), confidence)
    truth = float(np.abs(np.bincount(at, right - confidence)).sum() / len(confidence))
    runs, held = 800, 0
    for seed in range(runs):
        confidence, right = draw(n)
        found = calibration_error(Bins.of(confidence, (generator.random(n) < right) * 1.0), draws=300, seed=seed)
        held += holds(found, truth)
    # Of no error at all only the lower end can miss, so it is held in 97.5 % of cases.
    assert LOW - 0.021 <= held / runs <= (0.99 if slope == 1 else HIGH + 0.021)
