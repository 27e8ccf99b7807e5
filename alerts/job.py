"""The job `alerts`: evaluates all rules, keeps their states, and hands what alarms to notification."""

from __future__ import annotations

import threading
from typing import Final

from alerts.evaluator import Evaluator
from alerts.pipeline import plan
from monitor.jobs.job import Context, Job, Outcome

# What past windows were is kept from one run to the next, for each store that this process evaluates.
_EVALUATORS: dict[tuple[str, str], Evaluator] = {}
_LOCK: Final = threading.Lock()


def run(context: Context) -> Outcome:
    """Evaluate all rules once, as of the run's time."""
    evaluator = _evaluator(context)
    found = evaluator.evaluate(context.client, now=context.now)
    told = found.told
    plan(context, told)
    failing = sorted(name for name, health in found.health.items() if health.health == "error")
    alarming = sum(instance.alarming for instance in told)
    note = f"{len(found.health)} rules, {alarming} alarming"
    return Outcome(
        rows=len(found.events), note=f"{note}; cannot be evaluated: {', '.join(failing)}" if failing else note
    )


ALERTS: Final = Job(
    name="alerts", meaning="Evaluates the alert rules, and hands what alarms to notification.", every_s=15, run=run
)


def _evaluator(context: Context) -> Evaluator:
    key = (context.settings.store_url, str(context.client.database))
    with _LOCK:
        if key not in _EVALUATORS or _EVALUATORS[key].settings is not context.settings:
            _EVALUATORS[key] = Evaluator(context.settings)
        return _EVALUATORS[key]
