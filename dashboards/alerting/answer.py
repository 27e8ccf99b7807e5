"""The first sentence of the page: does anything fire, is anybody told, and are rules evaluated at all?"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from dashboards import answers, findings
from dashboards.alerting import rulebook, standing
from dashboards.answers import ATTENTION, BAD, GOOD, UNKNOWN, Finding
from dashboards.filters import View
from dashboards.tables import records
from dashboards.watch import about, concerns
from dashboards.wording import age_text, count_text, escaped, moment_text

# Severities that somebody is woken for.
GRAVE: Final = ("page", "critical")
# Rules are evaluated every 15 s; so long without it is no chance.
LATE_S: Final = 120.0


def answer(view: View) -> None:
    """Draw it."""
    now = datetime.now(UTC)
    answers.say([*_alarms(view, now), *_evaluation(now), *_told()], fine="")


def _alarms(view: View, now: datetime) -> list[Finding]:
    rows = findings.alerts_now()
    shown = rows[[concerns(about(row.grp, row.where), view.where) for row in records(rows)]] if len(rows) else rows
    firing = shown[shown["state"] != "pending"]
    waiting = len(shown) - len(firing)
    pending = (
        f" {count_text(waiting, 'alert is', 'alerts are')} pending: beyond, but not for long enough." if waiting else ""
    )
    if firing.empty:
        return [Finding(level=GOOD, words=f"No alert fires.{pending}")]
    known = standing.silences()
    quiet = sum(standing.silence_of(row.labels, known, now) is not None for row in records(firing))
    rules = list(dict.fromkeys(str(row.rule) for row in records(firing)))
    since = moment_text(firing["fired_at"].fillna(firing["since"]).min(), view.zone, now=now)
    words = f"{count_text(len(firing), 'alert fires', 'alerts fire')}, the oldest since {since}: "
    words += ", ".join(escaped(rule) for rule in rules[:5]) + (f" and {len(rules) - 5} more" if len(rules) > 5 else "")
    words += f"; {quiet} of them silenced." if quiet else "."
    grave = any(row.severity in GRAVE for row in records(firing))
    return [Finding(level=BAD if grave else ATTENTION, words=words + pending)]


def _evaluation(now: datetime) -> list[Finding]:
    health = standing.health()
    if health.empty:
        words = "No rule was evaluated yet: the job `alerts` of `monitor up` or `monitor work` does it every 15 s."
        return [Finding(level=UNKNOWN, words=words)]
    found = []
    age_s = (now - health["evaluated_at"].max().to_pydatetime()).total_seconds()
    if age_s > LATE_S:
        words = (
            f"Rules were last evaluated {age_text(age_s)} ago: what stands here may be over, and what is new is not seen."
            " See the job `alerts` on the page Health."
        )
        found.append(Finding(level=BAD, words=words))
    failing = [str(row.rule) for row in records(health) if row.health == "error"]
    if failing:
        words = f"{count_text(len(failing), 'rule')} cannot be evaluated: {', '.join(escaped(name) for name in failing[:5])}. See Rules."
        found.append(Finding(level=ATTENTION, words=words))
    return found


def _told() -> list[Finding]:
    known = rulebook.rulebook()
    if known.trouble or known.receivers:
        return []
    words = (
        "Nobody is told of alerts: there is no receiver. Set `receivers` and `routing` in monitor.yaml, and try them with"
        " `monitor alerts send-test`."
    )
    return [Finding(level=UNKNOWN, words=words)]
