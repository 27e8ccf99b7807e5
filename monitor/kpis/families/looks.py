"""`drift.` and `bias.`: what the jobs of these names saw at their newest looks."""

from __future__ import annotations

from typing import Final

from monitor.kpis.kpi import Kpi
from monitor.kpis.look_estimators import Largest, Told

_PLACE: Final = "arrayStringConcat(arrayFilter(x -> x != '', [toString(service), toString(model)]), ' ')"
_OF: Final = f"if(empty({_PLACE}), '', concat(' (', {_PLACE}, ')'))"
_FEATURE: Final = f"concat(feature, {_OF})"
_GAP: Final = f"concat(metric, ' by ', cohort, {_OF})"
_ENOUGH: Final = "isNotNull(value) AND NOT startsWith(verdict, 'too few rows')"
_WORDS: Final = (
    f"concat({_FEATURE}, ': ', verdict, if(empty(moved), '', concat(' [', arrayStringConcat(moved, '; '), ']')))"
)
_TIMES: Final = "(drifted, ifNull(abs(value), 0) / greatest(threshold, 1e-9))"
# A gap is seen over several windows: an alarm first, then the longest, which knows most.
_DIFFERENCE: Final = "gap = 'difference' AND verdict != 'insufficient'"
_GAP_ORDER: Final = "(verdict = 'alert', window_s, ifNull(value, 0) / greatest(ifNull(tolerance, 0), 1e-9))"

KPIS: Final = (
    Kpi(
        name="drift.drifted_features",
        unit="feature",
        meaning="Features whose newest look says that they have drifted; the note names them.",
        formula="count of features with `drifted` in their newest row of `drift_results`",
        better="lower",
        source="drift_looks",
        estimator=Told(name="drifted", what=_FEATURE, where="drifted", judged=_ENOUGH),
    ),
    Kpi(
        name="drift.effect",
        unit="effect",
        meaning=(
            "How far the feature's newest look is from its reference; without a split by `feature`, that of the feature that is"
            " furthest beyond its threshold."
        ),
        formula="`value` of `drift_results`, by the method that the look names",
        better="lower",
        source="drift_looks",
        estimator=Largest(
            name="effect", number="value", low="low", high="high", order=_TIMES, label=_WORDS, among=_ENOUGH
        ),
    ),
    Kpi(
        name="drift.p_value",
        unit="p",
        meaning=(
            "How surely chance is excluded over all looks at the feature so far, valid however often one looks; without a"
            " split by `feature`, the smallest."
        ),
        formula="1 / highest worth of the game against chance; see `docs/drift.md`",
        better=None,
        source="drift_looks",
        estimator=Largest(name="p_value", number="p_value", order="-ifNull(p_value, 1)", label=_FEATURE, among="1"),
    ),
    Kpi(
        name="bias.unfair_gaps",
        unit="gap",
        meaning="Outcomes and cohorts with a gap between groups beyond the tolerance, beyond chance; the note names them.",
        formula="count of (metric, cohort) with an `alert` in the newest rows of `bias_results`",
        better="lower",
        source="bias_looks",
        estimator=Told(name="unfair", what=_GAP, where="verdict = 'alert'", judged="verdict != 'insufficient'"),
    ),
    Kpi(
        name="bias.gap",
        unit="gap",
        meaning=(
            "Largest less smallest value of the groups of a cohort, in the metric's unit; ask for it by `metric` and `cohort`, else"
            " it is the one that is furthest beyond its tolerance."
        ),
        formula="`value` of the row `difference` of `bias_results`: of a window that alarms, else of the longest",
        better="lower",
        source="bias_looks",
        estimator=Largest(
            name="gap",
            number="value",
            low="low",
            high="high",
            n="n",
            order=_GAP_ORDER,
            label=f"concat({_GAP}, ': ', worst, ' against ', best, ', ', toString(window_s), ' s, ', verdict)",
            among=_DIFFERENCE,
        ),
    ),
)
