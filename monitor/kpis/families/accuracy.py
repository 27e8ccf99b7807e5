"""`accuracy.`: how right the answers are, by what people say, by what judges say, and by both together."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final

from monitor.kpis.confidence_estimators import CalibrationError, Expected
from monitor.kpis.estimators import Mean, Measure
from monitor.kpis.families.dynamic import Dynamic
from monitor.kpis.kpi import Kpi
from monitor.kpis.label_estimators import AgreementChange, Classes, ClassScore, Kappa, Powered, Proportion
from monitor.store import Client

LABELLED: Final = Measure(name="labelled", value="right_", missing="has a label from a person or as ground truth")
RIGHT: Final = Measure(name="right", value="right_", among="right_ >= 0.5")
JUDGED: Final = Measure(name="judged", value="verdict", missing="has a judge's verdict")
SAID_RIGHT: Final = Measure(name="said_right", value="verdict", among="verdict >= 0.5")
_COMPARED: Final = Measure(
    name="compared", value="right_", among="isNotNull(verdict)", missing="has both a label and a judge's verdict"
)
_AGREED: Final = Measure(
    name="agreed", value="right_", among="isNotNull(verdict) AND (right_ >= 0.5) = (verdict >= 0.5)"
)

_CLASS_SCORES: Final[tuple[tuple[ClassScore, str, str], ...]] = (
    ("precision", "of the answers of a class, those that are right; mean over classes", "mean of TP / (TP + FP)"),
    ("recall", "of what is of a class, what was answered so; mean over classes", "mean of TP / (TP + FN)"),
    ("f1", "the harmonic mean of both; mean over classes", "mean of 2 TP / (2 TP + FP + FN)"),
)

KPIS: Final = (
    Kpi(
        name="accuracy.correct",
        unit="1",
        meaning="Share of labelled calls whose answer is right, by ground truth or a person; the labels alone.",
        formula="Σ w where right / Σ w, over calls with a label of `correct` from ground_truth or human",
        better="higher",
        source="judged",
        estimator=Proportion(of=LABELLED, hit=RIGHT),
        window="24h",
    ),
    Kpi(
        name="accuracy.estimated",
        unit="1",
        meaning=(
            "Share of right answers among all judged calls, from few labels and many verdicts of a judge: as unbiased as"
            " the labels, with a shorter interval the better the judge is. Labels must be of a random choice of calls, within each hour."
        ),
        formula="λ · mean verdict of unlabelled calls + mean of (label − λ · verdict) of labelled ones, by hour, with the best λ",
        better="higher",
        source="judged",
        estimator=Powered(),
        window="24h",
    ),
    Kpi(
        name="accuracy.judged",
        unit="1",
        meaning=(
            "Share of judged calls whose answer the judge holds for right; as wrong as the judge is, so read it beside"
            " `accuracy.estimated`, which corrects it by labels."
        ),
        formula="Σ w where the verdict is right / Σ w, over calls with an evaluation `correct` from a judge",
        better="higher",
        source="judged",
        estimator=Proportion(of=JUDGED, hit=SAID_RIGHT),
        window="24h",
    ),
    Kpi(
        name="accuracy.expected",
        unit="1",
        meaning=(
            "Share of right answers that the model's own confidence (evaluation `confidence`) lets one expect, after it was"
            " calibrated on the labelled calls. It sees harder questions, not a change of what is right."
        ),
        formula="Σ w · calibrated confidence / Σ w, over calls with a confidence",
        better="higher",
        source="judged",
        estimator=Expected(),
        window="24h",
    ),
    Kpi(
        name="accuracy.labels_needed",
        unit="label",
        meaning="More labels that `accuracy.estimated` needs for an interval of ±1 point, all else as it is.",
        formula="labels · (factor at which the variance is (0.01 / 1.96)² − 1)",
        better=None,
        source="judged",
        estimator=Powered(answer="labels_needed"),
        window="24h",
    ),
    Kpi(
        name="accuracy.judge_agreement",
        unit="1",
        meaning="Share of calls on which judge and people say the same.",
        formula="Σ w where (label ≥ ½) = (verdict ≥ ½) / Σ w, over calls with both",
        better="higher",
        source="judged",
        estimator=Proportion(of=_COMPARED, hit=_AGREED),
        window="24h",
    ),
    Kpi(
        name="accuracy.judge_agreement_change",
        unit="1",
        meaning=(
            "Agreement of judge and people, less that of the window before of the same length (of a day and more, from a whole"
            " hour on): drift of the judge itself."
        ),
        formula="judge_agreement of the window − judge_agreement of the window before",
        better="higher",
        source="judged_twice",
        estimator=AgreementChange(),
        window="24h",
    ),
    Kpi(
        name="accuracy.judge_kappa",
        unit="kappa",
        meaning="Agreement of judge and people beyond chance: 1 is complete, 0 is that of a coin with the judge's bias.",
        formula="(agreement − agreement by chance) / (1 − agreement by chance), Cohen's",
        better="higher",
        source="judged",
        estimator=Kappa(),
        window="24h",
    ),
    Kpi(
        name="accuracy.calibration_error",
        unit="1",
        meaning="How far the model's own confidence (evaluation `confidence`) is from how often it is right, freed from its upward bias.",
        formula="mean over bins of |share right − mean confidence|, debiased",
        better="lower",
        source="judged",
        estimator=CalibrationError(),
        window="24h",
    ),
    *(
        Kpi(
            name=f"accuracy.{score}",
            unit="1",
            meaning=f"Where answers are classes (evaluations `answer` and `correct` with classes as labels): {words}.",
            formula=formula,
            better="higher",
            source="judged",
            estimator=Classes(score=score),
            window="24h",
        )
        for score, words, formula in _CLASS_SCORES
    ),
)


def score_measure(name: str) -> Measure:
    """A score as a measure of the source `scores`."""
    quoted = name.replace("\\", "\\\\").replace("'", "\\'")
    return Measure(
        # A column's name cannot be whatever a score may be called.
        name=f"score_{hashlib.sha256(name.encode()).hexdigest()[:12]}",
        value="score_value",
        among=f"score_name = '{quoted}'",
        missing=f"has a score called {name}",
    )


def score_kpi(name: str) -> Kpi:
    """The mean of a score that judges, people or users give."""
    return Kpi(
        name=f"accuracy.score.{name}",
        unit="score",
        meaning=f"Mean score `{name}`, of the newest of each call, whoever gave it; probes left out.",
        formula="Σ w · score / Σ w",
        better=None,
        source="scores",
        estimator=Mean(of=score_measure(name), bounded=False),
        window="24h",
    )


def score_names(client: Client) -> list[str]:
    """What is scored, as far as the store knows."""
    rows = client.query(
        "SELECT DISTINCT name FROM evaluations WHERE isNotNull(score) AND source != 'probe' ORDER BY name LIMIT 200"
    ).result_rows
    return [str(name) for (name,) in rows]


def _find(client: Client) -> Sequence[Kpi]:
    return [score_kpi(name) for name in score_names(client)]


SCORES: Final = Dynamic(prefix="accuracy.score.", find=_find, examples=(score_kpi("<name>"),))
