"""Objectives as SQL conditions over calls: about which calls, is it known, was it good.

Columns are those of `inferences`, and those that `monitor.kpis.sources.outcomes` adds: `moderated`, `flagged`, `blocked`
and one verdict for each thing that accuracy is judged by (`verdict_column`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from monitor.kpis.attainment import Judgement
from monitor.kpis.dimensions import dimension_sql
from monitor.store import Client
from monitor.store.flatten import literal, literals
from monitor.store.objectives import Objective, Version, read_objectives

MODERATED: Final = "moderated"
FLAGGED: Final = "flagged"
BLOCKED: Final = "blocked"
GOODPUT: Final = "goodput"

_COLUMNS: Final = {
    "ttft": "ttft_s", "tpot": "tpot_s", "e2e": "duration_s", "queue": "queue_s", "prefill": "prefill_s", "decode": "decode_s",
}  # fmt: skip
_NO_ERROR: Final = "error_type = ''"
# Nobody waits for the first token, or between tokens, of an answer that comes as a whole.
_WHOLE: Final = "(isNotNull(stream) AND NOT assumeNotNull(stream))"
_UNKNOWN: Final = {
    "latency": "did not report it",
    "error": "did not say",
    "accuracy": "were not judged",
    "safety": "were not moderated",
    "cost": "did not say what they cost",
}


def key_of(name: str) -> str:
    """An objective's name as part of a column's name; names have no capitals."""
    return f"o_{name.replace('-', 'M')}"


def judgement_of(versions: Sequence[Version]) -> Judgement:
    """Conditions of one objective; each call is judged by the version that held when it began."""
    newest = versions[-1].objective
    return Judgement(
        key=key_of(newest.name),
        about=_by_version(versions, _about),
        known=_by_version(versions, _known),
        good=_by_version(versions, _good),
        unknown=_UNKNOWN[newest.kind],
    )


def goodput_of(objectives: Mapping[str, Sequence[Version]]) -> Judgement | None:
    """Conditions of a call that is good in every respect, all at once; None without an objective on latency.

    Good: no error, not blocked by moderation, and each latency objective that is about it met. Bad: any of them failed,
    whatever else is unknown. Neither: nothing failed, but a latency is unknown.
    """
    latencies = [versions for versions in objectives.values() if versions[-1].objective.kind == "latency"]
    if not latencies:
        return None
    about = [_by_version(versions, _waits) for versions in latencies]
    known = [_by_version(versions, _known) for versions in latencies]
    good = [_by_version(versions, _good) for versions in latencies]
    kept = " AND ".join(f"(NOT ({a}) OR (({k}) AND ({g})))" for a, k, g in zip(about, known, good, strict=True))
    missed = " OR ".join(f"(({a}) AND ({k}) AND NOT ({g}))" for a, k, g in zip(about, known, good, strict=True))
    failed = f"(NOT ({_NO_ERROR}) OR {BLOCKED} OR {missed})"
    return Judgement(
        key=GOODPUT,
        about=" OR ".join(f"({a})" for a in about),
        known=f"{failed} OR ({kept})",
        good=f"NOT {failed}",
        unknown="did not report a latency that an objective is about",
    )


def judgements(client: Client) -> dict[str, Judgement]:
    """Objective -> its conditions, goodput among them, of what is configured."""
    objectives = read_objectives(client)
    found = {name: judgement_of(versions) for name, versions in objectives.items()}
    goodput = goodput_of(objectives)
    return found if goodput is None else found | {GOODPUT: goodput}


def verdict_column(objective: Objective) -> str:
    """Name of the column that holds whether a call was judged to be right: the same for equal rules."""
    rule = json.dumps([objective.evaluation, list(objective.labels), objective.score_from, sorted(objective.sources)])
    return f"verdict_{hashlib.sha256(rule.encode()).hexdigest()[:12]}"


def verdict_condition(objective: Objective) -> str:
    """SQL over evaluations: does it judge by this objective's rule?"""
    said = "label != ''" if objective.labels else "isNotNull(score)"
    sources = f" AND source IN ({literals(sorted(objective.sources))})" if objective.sources else ""
    return f"(name = {literal(objective.evaluation)} AND error_type = '' AND {said}{sources})"


def verdict_aggregate(objective: Objective) -> str:
    """SQL aggregate over a call's evaluations: 1 right, 0 wrong, NULL not judged.

    Of several judgements the ground truth counts before a human's, and a human's before all others; then the newest.
    """
    condition = verdict_condition(objective)
    right = (
        f"label IN ({literals(objective.labels)})" if objective.labels else f"score >= {_number(objective.score_from)}"
    )
    rank = "transform(source, ['ground_truth', 'human'], [2, 1], 0)"
    newest = f"argMaxIf(toUInt8(ifNull({right}, 0)), ({rank}, timestamp), {condition})"
    return f"if(countIf({condition}) = 0, NULL, {newest})"


def _by_version(versions: Sequence[Version], sql: Callable[[Objective], str]) -> str:
    texts = [sql(version.objective) for version in versions]
    if len(set(texts)) == 1:
        return texts[0]
    choices = [
        f"timestamp < fromUnixTimestamp64Nano(toInt64({version.end_ns})), {text}"
        for version, text in zip(versions, texts, strict=True)
        if version.end_ns is not None
    ]
    return f"multiIf({', '.join(choices)}, {texts[-1]})"


def _where(objective: Objective) -> str:
    parts = [f"{dimension_sql(key)} IN ({literals(values)})" for key, values in sorted(objective.where.items())]
    return f"({' AND '.join(parts) or '1'})"


def _about(objective: Objective) -> str:
    # Errors are counted by objectives on errors; a fast refusal is no fast answer, and a slow one no slow answer.
    return f"{_waits(objective)} AND {_NO_ERROR}" if objective.kind == "latency" else _where(objective)


def _waits(objective: Objective) -> str:
    """Whether a call, an error or not, could have the latency."""
    if objective.latency == "ttft":
        return f"{_where(objective)} AND NOT ({_WHOLE} AND isNull(ttft_s))"
    if objective.latency == "tpot":
        return f"{_where(objective)} AND NOT ({_WHOLE} AND isNull(tpot_s)) AND NOT ifNull(output_tokens < 2, 0)"
    return _where(objective)


def _known(objective: Objective) -> str:
    if objective.kind == "latency":
        return _latency_known(objective)
    return {
        "error": "1",
        "accuracy": f"isNotNull({verdict_column(objective)})",
        "safety": f"{MODERATED}",
        "cost": _is_number("cost_usd"),
    }[objective.kind]


def _latency_known(objective: Objective) -> str:
    column, known = _COLUMNS[objective.latency], _is_number(_COLUMNS[objective.latency])
    # Who gave up after the threshold has waited longer than that; before it, what would have come is not known.
    gave_up = f"(cancelled AND duration_s > {_number(objective.threshold_s)})"
    if objective.latency == "ttft":
        return f"({known} OR {gave_up})"
    if objective.latency == "e2e":
        return f"({known} AND (NOT cancelled OR {gave_up}))"
    return f"({known} AND NOT cancelled)" if column in ("tpot_s", "decode_s") else known


def _good(objective: Objective) -> str:
    if objective.kind == "latency":
        return f"ifNull({_COLUMNS[objective.latency]} <= {_number(objective.threshold_s)}, 0)"
    return {
        "error": _NO_ERROR,
        "accuracy": f"ifNull({verdict_column(objective)} = 1, 0)",
        "safety": f"NOT {FLAGGED}",
        "cost": f"ifNull(cost_usd <= {_number(objective.ceiling_usd)}, 0)",
    }[objective.kind]


def _is_number(column: str) -> str:
    return f"(isNotNull({column}) AND isFinite(assumeNotNull({column})))"


def _number(value: float | None) -> str:
    """A float as SQL, to the last digit."""
    return repr(float(value or 0.0))
