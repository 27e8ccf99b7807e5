"""The jobs `probes` and `bbq`: ask the configured model, and keep how it treats groups."""

from __future__ import annotations

from typing import Final

from monitor.jobs.job import Context, Job, Outcome
from monitor.jobs.refusal_model import read_model

_OFF: Final = "no probes are sent: `probes.endpoint` is empty"


def run(context: Context) -> Outcome:
    """One run of the paired prompts; each is a look of its own, and a missed one is not made up: it would be asked today."""
    settings = context.settings.probes
    if not settings.endpoint:
        return Outcome(note=_OFF)
    from monitor.probes import run_probes  # here, as most services send none

    found = run_probes(context.client, settings, now=context.now, model=read_model(context.client), stop=context.stop)
    return Outcome(rows=found.rows, note=found.note)


def ask_bbq(context: Context) -> Outcome:
    """One run of BBQ's questions."""
    settings = context.settings.probes
    if not settings.endpoint or settings.bbq is None:
        return Outcome(note=_OFF if not settings.endpoint else "no questions are asked: `probes.bbq` is empty")
    from monitor.probes.bbq import run_bbq

    scores = run_bbq(context.client, settings, now=context.now, stop=context.stop)
    told = [
        f"{score.category or 'all'} {score.metric} {score.result.value:.1f}"
        for score in scores
        if score.metric in ("ambiguous", "disambiguated") and score.result.value is not None
    ]
    return Outcome(rows=len(scores), note="; ".join(told[:6]))


PROBES: Final = Job(
    name="probes",
    meaning="Asks the configured model prompts that differ only in a group, and compares its answers.",
    every_s=86_400,
    run=run,
)
BBQ: Final = Job(
    name="bbq",
    meaning="Asks the configured model questions of BBQ, and scores its bias.",
    every_s=7 * 86_400,
    run=ask_bbq,
)
