"""What the API tells of rules: how each is evaluated, what a draft would have done, how often rules were right."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from alerts.backtest import Replay, backtest, read_shift
from alerts.book import check_rule, known_from_store, read_laid
from alerts.conditions.band import Band
from alerts.evaluator import every_s
from alerts.marks import precision
from alerts.rules import Known, Rule, RuleError
from monitor.errors import BadInput
from monitor.kpis import parse_duration
from monitor.settings import Settings
from monitor.store import Client

SINCE: Final = "30d"
SINCE_MAX: Final = timedelta(days=90)
# A rule is evaluated once in each of its windows: so many take a second or two.
STEPS_MAX: Final = 20_000


def evaluated_json(rule: Rule) -> dict[str, Any]:
    """A rule as it is evaluated: an objective's makes two. `thresholds` are numbers in the KPI's unit."""
    condition: Any = rule.condition
    band = [condition.low, condition.high] if isinstance(condition, Band) else []
    return {
        "name": rule.name,
        "declared": rule.declared or rule.name,
        "kpi": rule.kpi,
        "by": list(rule.by),
        "where": {key: list(values) for key, values in rule.where.items()},
        "window_s": rule.window_s,
        "severity": rule.severity,
        "condition": rule.words,
        "thresholds": [bound for bound in band if math.isfinite(bound)],
    }


def replayed(settings: Settings, client: Client, body: Mapping[str, Any]) -> dict[str, Any]:
    """What a rule would have done; nothing is written.

    Keys: `rule` (keys of `alerts` in the configuration; its name may be left out), `since` (30d), `end` (now), `shift`.
    """
    given = body.get("rule")
    if not isinstance(given, dict):
        raise BadInput('the body must be {"rule": {…}, "since": "30d"}, with the keys of `alerts` in the configuration')
    given = {"name": "draft", **given, "enabled": True}
    now = datetime.now(UTC)
    end = min(read_moment(body, "end") or now, now)
    since = parse_duration(str(body.get("since") or SINCE))
    if since > SINCE_MAX:
        raise BadInput(
            f"rules are replayed over at most {SINCE_MAX.days} days here; `monitor alerts backtest` has no end"
        )
    shift = read_shift(str(body["shift"])) if body.get("shift") else None
    rules = check_rule(settings, read_laid(given), known_to(settings, client, {str(given["name"]): given}))
    for rule in rules:
        if rule.window_s and since.total_seconds() / rule.window_s > STEPS_MAX:
            text = f"{since.days} days have more than {STEPS_MAX:,} such windows; look at a shorter time"
            raise RuleError(rule.name, "window", text)
    found = [(rule, backtest(client, rule, since=since, now=end, shift=shift)) for rule in rules]
    return {"replays": [evaluated_json(rule) | _replay_json(replay) for rule, replay in found]}


def precision_json(client: Client, body: Mapping[str, Any]) -> dict[str, Any]:
    """Of each rule that fired `since` (30d): how often, and of those marked, how many were right."""
    since = parse_duration(str(body.get("since") or SINCE))
    found = precision(client, since=since, now=datetime.now(UTC))
    return {
        "rules": [
            {"rule": each.rule, "fired": each.fired, "right": each.right, "wrong": each.wrong, "share": each.share}
            for each in found
        ]
    }


def known_to(settings: Settings, client: Client, definitions: Mapping[str, Mapping[str, Any]]) -> Known:
    """What rules can be about: as the store knows the KPIs that rules of the file, and these, are about."""
    names = [str(each.get("kpi", "")) for each in definitions.values()] + [rule.kpi for rule in settings.alerts]
    return known_from_store(client, [name for name in names if name], every_s=every_s(settings))


def read_moment(body: Mapping[str, Any], key: str) -> datetime | None:
    """A moment with its zone; None if it is not given."""
    text = str(body.get(key) or "")
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None or not 1970 < moment.year < 2200:
        raise BadInput(f"`{key}` is no moment with a time zone; write it as 2026-01-31T12:00:00Z")
    return moment.astimezone(UTC)


def _replay_json(replay: Replay) -> dict[str, Any]:
    return {
        "fired": replay.fired,
        "seconds": replay.seconds,
        "longest_s": replay.longest_s,
        "a_week": replay.a_week,
        "looked_s": replay.looked_s,
        "groups": dict(replay.groups),
        "delay_s": replay.delay_s,
        "seen_share": replay.seen_share,
        "skipped": replay.skipped,
        "spells": [
            {
                "group": dict(each.group),
                "start": each.start.isoformat(),
                "end": each.end.isoformat(),
                "goes_on": each.goes_on,
            }
            for each in replay.spells
        ],
    }
