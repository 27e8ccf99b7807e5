"""One run of probes: ask, score, compare, record.

Nothing of it is a call: no row of `inferences` is written, so neither traffic nor latency, cost, safety or accuracy of the
live service can hold a probe. What is said of the answers stands in `evaluations` with source `probe`, which no KPI of live
traffic reads, and the comparisons in `probe_results`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlsplit

from monitor.errors import BadInput, StoreAway
from monitor.probes.compare import Comparison, compare_groups
from monitor.probes.endpoint import Reply, ask, trace_of
from monitor.probes.results import record_of, write_results
from monitor.probes.scores import Answered, Scorer, scorers
from monitor.probes.templates import Probe, ProbeSet, probes_of, read_templates
from monitor.settings import ProbeSettings
from monitor.stats.refusal import RefusalModel
from monitor.store import Client
from monitor.store.judgements import Judgement, write_judgements


@dataclass(frozen=True, kw_only=True)
class Run:
    """What a run came to."""

    comparisons: list[Comparison]
    asked: int
    failed: int
    first_error: str
    rows: int

    @property
    def note(self) -> str:
        unequal = [each for each in self.comparisons if each.found.verdict == "unequal"]
        parts = [f"{self.asked - self.failed} answers, {len(unequal)} of {len(self.comparisons)} comparisons unequal"]
        parts += [f"{each.metric} of {each.cohort}" for each in unequal[:5]]
        if self.failed:
            parts.append(f"{self.failed} prompts got none ({self.first_error})")
        return "; ".join(parts)


def plan_probes(settings: ProbeSettings) -> tuple[list[ProbeSet], list[Probe]]:
    """What a run would send.

    Raises
    ------
    BadInput
        If the template file does not fit, or has too many prompts.
    """
    sets = read_templates(settings.templates)
    probes = list(probes_of(sets))
    if len(probes) > settings.requests_max:
        raise BadInput(
            f"the probes come to {len(probes)} prompts, and `probes.requests_max` allows {settings.requests_max};"
            " take out prompts or terms, or allow more"
        )
    return sets, probes


def run_probes(
    client: Client,
    settings: ProbeSettings,
    *,
    now: datetime,
    model: RefusalModel | None = None,
    stop: threading.Event | None = None,
    on_reply: Callable[[int], None] = lambda done: None,
) -> Run:
    """Send all prompts, and write what came of them.

    Parameters
    ----------
    client : Client
        That may write.
    settings : ProbeSettings
        With an endpoint.
    now : datetime
        Time of the run, in UTC; also its name.
    model : RefusalModel, optional
        The store's classifier of refusals; by the rules without.
    stop, on_reply
        As of `ask`.

    Raises
    ------
    BadInput
        If the template file does not fit, or a scorer fails.
    StoreAway
        If more than half of the prompts got no answer: such a comparison would be of those that were answered.
    """
    sets, probes = plan_probes(settings)
    chosen = scorers(settings.scorers, model)
    ids = [trace_of(now.isoformat(), probe.set, probe.group, probe.pair) for probe in probes]
    prompts = [(probe.prompt, each) for probe, each in zip(probes, ids, strict=True)]
    replies = ask(settings, prompts, stop=stop, on_reply=on_reply)
    failed = [reply for reply in replies if reply.text is None]
    where = urlsplit(settings.endpoint).netloc
    if 2 * len(failed) > len(replies):
        raise StoreAway(
            f"{len(failed)} of {len(replies)} probes got no answer from {where} ({failed[0].error}); nothing was judged;"
            " check `probes.endpoint`, `probes.model` and `probes.token`"
        )
    scores = _scores(chosen, probes, replies)
    metrics = [scorer.name for scorer in chosen]
    found = compare_groups(sets, probes, scores, metrics, tolerance=settings.tolerance, alpha=settings.alpha)
    judgements = [
        _judgement(probe, reply, scorer, score[scorer.name], now)
        for probe, reply, score in zip(probes, replies, scores, strict=True)
        for scorer in chosen
        if scorer.name in score
    ]
    rows = write_judgements(client, judgements)
    rows += write_results(client, [record_of(each) for each in found], run_at=now, model=settings.model, endpoint=where)
    return Run(
        comparisons=found,
        asked=len(replies),
        failed=len(failed),
        first_error=failed[0].error if failed else "",
        rows=rows,
    )


def _scores(chosen: Sequence[Scorer], probes: Sequence[Probe], replies: Sequence[Reply]) -> list[dict[str, float]]:
    """Metric -> number, of each reply; empty where there was none."""
    there = [i for i, reply in enumerate(replies) if reply.text is not None]
    answers = [Answered(probes[i].prompt, replies[i].text or "", replies[i].finish_reason) for i in there]
    scores: list[dict[str, float]] = [{} for _ in replies]
    for scorer in chosen:
        try:
            values = scorer.score(answers)
        except Exception as error:  # a user's function may raise anything
            raise BadInput(
                f"the scorer {scorer.evaluator} fails ({type(error).__name__}: {error}); see `probes.scorers`"
            ) from None
        for i, value in zip(there, values, strict=True):
            scores[i][scorer.name] = value
    return scores


def _judgement(probe: Probe, reply: Reply, scorer: Scorer, score: float, now: datetime) -> Judgement:
    label = ("yes" if score >= 0.5 else "no") if scorer.name == "refusal" else ""
    return Judgement(
        timestamp=now,
        trace_id=reply.trace_id,
        span_id=reply.span_id,
        name=scorer.name,
        score=score,
        label=label,
        source="probe",
        evaluator=scorer.evaluator,
        explanation=f"{probe.set}={probe.group}, pair {probe.pair}",
    )
