"""`engagement.`: who uses it, how much, whether they come back, and what they do with the answers."""

from __future__ import annotations

from typing import Final

from monitor.kpis.estimators import Mean, Measure, Share
from monitor.kpis.kpi import Kpi
from monitor.kpis.label_estimators import Proportion
from monitor.kpis.unit_estimators import Corrected, Count, OfUnits

_ANY: Final = Measure(name="units", value="1")
_NEW: Final = Measure(name="new", value="1", among="is_new")
_BACK: Final = Measure(name="back", value="1", among="returned")
_HAD_TURNS: Final = "turns > 0"
_SESSIONS: Final = Measure(name="live", value="1", among=_HAD_TURNS)
_TURNS: Final = Measure(name="turns", value="turns", among=_HAD_TURNS, missing="has a call in the window")
_MINUTES: Final = Measure(name="minutes", value="minutes", among=_HAD_TURNS, missing="has a call in the window")
_LEFT: Final = Measure(name="left_sessions", value="1", among="abandoned")

_GIVEN: Final = Measure(name="given", value="1", among="(thumbs IN ('up', 'down') OR commented)")
_THUMBS: Final = Measure(name="thumbs_given", value="1", among="thumbs IN ('up', 'down')", missing="has thumbs")
_UP: Final = Measure(name="thumbs_up", value="1", among="thumbs = 'up'")
_COPIED: Final = Measure(name="copied_calls", value="1", among="copied")
_AGAIN: Final = Measure(name="regenerated_calls", value="1", among="regenerated")

# Known of every call, answered or not; what tells most about answering first.
STRATA: Final = (
    "toString(service)",
    "toString(model)",
    (
        "multiIf(error_type != '', 'error', cancelled, 'cancelled', duration_s < 1, '1 s', duration_s < 3, '3 s',"
        " duration_s < 10, '10 s', 'slow')"
    ),
    "if(isNull(output_tokens), '?', toString(least(6, toInt8(floor(log2(assumeNotNull(output_tokens) + 1) / 2)))))",
)
_UNSEEN: Final = "who had no call kept is not in it, and it cannot be scaled up"
_YOUNG: Final = "the store begins with these days: some may not be new"

KPIS: Final = (
    Kpi(
        name="engagement.active_users",
        unit="user",
        meaning="Users with a call in the window.",
        formula="number of distinct user_id",
        better="higher",
        source="users",
        estimator=OfUnits(by=Count(of=_ANY), sampled=_UNSEEN),
        window="24h",
    ),
    Kpi(
        name="engagement.new_users",
        unit="user",
        meaning="Active users of whom the store has no call before the window; its retention is all that it remembers.",
        formula="number of distinct user_id without a call before the window",
        better="higher",
        source="users",
        estimator=OfUnits(
            by=Count(of=_NEW),
            sampled="users whose earlier calls were not kept look new, and who had none kept is not in it",
            young=_YOUNG,
        ),
        window="24h",
    ),
    Kpi(
        name="engagement.sessions",
        unit="session",
        meaning="Sessions with a call in the window.",
        formula="number of distinct session_id",
        better="higher",
        source="sessions",
        estimator=OfUnits(by=Count(of=_SESSIONS), sampled=_UNSEEN),
        window="24h",
    ),
    Kpi(
        name="engagement.turns_per_session",
        unit="turn",
        meaning=(
            "Turns of a session within the window, mean over sessions. A turn is a trace: an agent's several calls for one"
            " question are one."
        ),
        formula="mean over sessions of the number of distinct trace_id",
        better=None,
        source="sessions",
        estimator=OfUnits(
            by=Mean(of=_TURNS), sampled="turns that were not kept are not in it; it is too low and cannot be scaled up"
        ),
        window="24h",
    ),
    Kpi(
        name="engagement.session_minutes",
        unit="min",
        meaning="From the begin of a session's first call in the window to the end of its last, mean over sessions.",
        formula="mean over sessions of (max(timestamp + duration_s) − min(timestamp)) / 60",
        better=None,
        source="sessions",
        estimator=OfUnits(
            by=Mean(of=_MINUTES), sampled="first and last calls may be missing; it is too low and cannot be scaled up"
        ),
        window="24h",
    ),
    *(
        Kpi(
            name=f"engagement.return_rate_d{after}",
            unit="1",
            meaning=(
                f"Share of users who came back {words} their first, of those whose day of return (UTC) ended in the window:"
                " a window of a day holds one cohort, shorter ones mostly none."
            ),
            formula=f"users with a call on day d + {after} / users whose first call in the store was on day d",
            better="higher",
            source=f"returned_d{after}",
            estimator=OfUnits(
                by=Share(hit=_BACK), sampled="returns that were not kept are not in it; it is too low", young=_YOUNG
            ),
            window="7d",
        )
        for after, words in ((1, "on the day after"), (7, "on the seventh day after"))
    ),
    Kpi(
        name="engagement.feedback_rate",
        unit="1",
        meaning="Share of calls with thumbs or a comment.",
        formula="Σ w where thumbs or comment / Σ w",
        better="higher",
        source="engaged",
        estimator=Share(hit=_GIVEN),
        window="24h",
    ),
    Kpi(
        name="engagement.thumbs_up",
        unit="1",
        meaning="Share of thumbs that are up, as given. People answer more often when something is remarkable.",
        formula="Σ w where thumbs are up / Σ w where there are thumbs; the newest of each call",
        better="higher",
        source="engaged",
        estimator=Proportion(of=_THUMBS, hit=_UP),
        window="24h",
    ),
    Kpi(
        name="engagement.thumbs_up_corrected",
        unit="1",
        meaning=(
            "Share of thumbs up if all calls were answered as those like them are: corrected for who answers, as far as"
            " service, model, error, duration and length of the output tell. The note has the raw share."
        ),
        formula="Σ over strata of their share of all calls · share of thumbs up within",
        better="higher",
        source="engaged",
        estimator=Corrected(answered=_THUMBS, up=_UP, strata=STRATA),
        window="24h",
    ),
    Kpi(
        name="engagement.regenerate_rate",
        unit="1",
        meaning="Share of calls whose answer the user asked for again.",
        formula="Σ w where regenerated / Σ w",
        better="lower",
        source="engaged",
        estimator=Share(hit=_AGAIN),
        window="24h",
    ),
    Kpi(
        name="engagement.copy_rate",
        unit="1",
        meaning="Share of calls whose answer the user copied.",
        formula="Σ w where copied / Σ w",
        better="higher",
        source="engaged",
        estimator=Share(hit=_COPIED),
        window="24h",
    ),
    Kpi(
        name="engagement.abandon_rate",
        unit="1",
        meaning="Share of sessions that the user left for good before they were done (event `abandon`).",
        formula="sessions with an event `abandon`, of a call or of the session / sessions with a call or such an event",
        better="lower",
        source="sessions",
        estimator=OfUnits(by=Share(hit=_LEFT), sampled="sessions without a kept call are not in it"),
        window="24h",
    ),
)
