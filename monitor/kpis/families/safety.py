"""`safety.`: what moderation found, what was blocked, refused and reported."""

from __future__ import annotations

from typing import Final

from monitor.kpis.estimators import Measure, Share, Total
from monitor.kpis.kpi import Kpi

_FLAGGED: Final = Measure(name="safety_flagged", value="1", among="flagged")
_BLOCKED: Final = Measure(name="safety_blocked", value="1", among="blocked")
_PII: Final = Measure(name="safety_pii", value="1", among="pii")
_REFUSED: Final = Measure(name="safety_refused", value="1", among="refused")
_REPORTED: Final = Measure(name="safety_reported", value="1")
_OF_MODERATED: Final = "Of calls that nobody moderated nothing is known: they are not in it."

KPIS: Final = (
    Kpi(
        name="safety.flagged_rate",
        unit="1",
        meaning=f"Share of moderated calls in whose prompt or answer a filter found something, blocked ones included. {_OF_MODERATED}",
        formula="Σ sample_weight where any moderation says flagged or blocked / Σ sample_weight of moderated calls",
        better="lower",
        source="moderated",
        estimator=Share(hit=_FLAGGED),
    ),
    Kpi(
        name="safety.blocked_rate",
        unit="1",
        meaning=f"Share of moderated calls whose prompt or answer was blocked, also since a filter did not answer. {_OF_MODERATED}",
        formula="Σ sample_weight where any moderation says blocked / Σ sample_weight of moderated calls",
        better="lower",
        source="moderated",
        estimator=Share(hit=_BLOCKED),
    ),
    Kpi(
        name="safety.pii_rate",
        unit="1",
        meaning=(
            "Share of moderated calls in whose prompt or answer personal data were found; whether a filter looked for them"
            " is not recorded."
        ),
        formula="Σ sample_weight where a finding's category is pii or begins with pii. / Σ sample_weight of moderated calls",
        better="lower",
        source="moderated",
        estimator=Share(hit=_PII),
    ),
    Kpi(
        name="safety.refusal_rate",
        unit="1",
        meaning="Share of the calls looked at for it in which the model refused to answer; of several judgements the last counts.",
        formula="Σ sample_weight where the evaluation refusal says so / Σ sample_weight of calls with an evaluation refusal",
        better=None,
        source="refusal_checked",
        estimator=Share(hit=_REFUSED),
    ),
    Kpi(
        name="safety.user_reports",
        unit="call",
        meaning="Calls begun in the window that a user reported, at any time since; each once.",
        formula="Σ sample_weight of calls with an engagement event of the kind report",
        better="lower",
        source="reported",
        estimator=Total(of=_REPORTED),
        empty=0.0,
    ),
)
