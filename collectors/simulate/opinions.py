"""What is said of the demo's answers: by filters at once, by judges and people later, and by what users do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from collectors.simulate.calls import Calls
from collectors.simulate.events import Evaluation, Record, engagement_record, evaluation_record, span_event
from collectors.simulate.workload import NS, Floats

Truths = NDArray[np.bool_]
_Say = Callable[[Truths, Floats, list[bytes]], None]
_Waits = Callable[[float, float], Floats]

JUDGED_SHARE: Final = 0.1
JUDGE_AGREES: Final = 0.92
TRUTH_SHARE: Final = 0.015
HUMAN_SHARE: Final = 0.008
# Of calls that are right, and of those that are not.
THUMBS_SHARES: Final = (0.03, 0.08)
UP_SHARES: Final = (0.9, 0.15)
COPY_SHARES: Final = (0.14, 0.02)
AGAIN_SHARES: Final = (0.02, 0.18)
# Of sessions, where the last call was right and not slow, and where it was not.
ABANDON_SHARES: Final = (0.03, 0.2)
SLOW_S: Final = 2.5
REPORT_SHARE: Final = 0.0006
# What filters find, with its share of calls and what is done about it.
FINDINGS: Final = (("insult", 0.004, "flagged"), ("pii.email", 0.008, "flagged"), ("weapons", 0.0008, "blocked"))

_MINUTE: Final = 60.0
_ALLOWED: Final = Evaluation(name="moderation.output", label="allowed", source="moderation", evaluator="rules")
_DECIDED: Final = {
    name: Evaluation(name="moderation.output", label=label, source="moderation", evaluator="rules", explanation=name)
    for name, _, label in FINDINGS
}
_FOUND: Final = {
    name: Evaluation(name=name, label=label, source="moderation", evaluator="rules", explanation="output")
    for name, _, label in FINDINGS
}
_REFUSALS: Final = tuple(
    Evaluation(name="refusal", label=label, score=score, source="judge", evaluator="refusal-rules")
    for label, score in (("no", 0.0), ("yes", 1.0))
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Truth:
    """What is true of each call, whether somebody finds out or not."""

    right: Truths
    refused: Truths
    last: Truths


def at_once(calls: Calls, truth: Truth, rng: np.random.Generator) -> list[bytes]:
    """Events of each call's span: the filters' decision with what they found, and whether the answer is a refusal."""
    drawn = rng.random(len(calls))
    ends = (calls.start_ns + calls.duration_ns).tolist()
    edges = np.cumsum([share for _, share, _ in FINDINGS])
    which = np.searchsorted(edges, drawn).tolist()
    refused = truth.refused.tolist()
    made = []
    for row, end_ns in enumerate(ends):
        if calls.error[row] or calls.cancelled[row]:
            made.append(b"")
            continue
        refusal = span_event(_REFUSALS[refused[row]], end_ns)
        if which[row] == len(FINDINGS):
            made.append(span_event(_ALLOWED, end_ns) + refusal)
            continue
        name = FINDINGS[which[row]][0]
        made.append(span_event(_FOUND[name], end_ns) + span_event(_DECIDED[name], end_ns) + refusal)
    return made


def later(calls: Calls, services: list[str], truth: Truth, rng: np.random.Generator) -> list[Record]:
    """What judges and people say of the calls that succeeded, and what users did with the answers, in order of time.

    Parameters
    ----------
    services : list of str
        Service of each call.
    """
    count = len(calls)
    answered = np.array([not error for error in calls.error]) & ~np.array(calls.cancelled, dtype=bool)
    ends = calls.start_ns + calls.duration_ns
    records: list[Record] = []

    def say(chosen: Truths, delay_s: Floats, said: list[bytes]) -> None:
        rows = np.flatnonzero(chosen & answered)
        times = (ends[rows] + np.rint(delay_s[rows] * NS).astype(np.int64)).tolist()
        for row, time_ns in zip(rows.tolist(), times, strict=True):
            records.append(Record(time_ns=time_ns, call=row, service=services[row], said=said[row]))

    def waits(low_s: float, high_s: float) -> Floats:
        return low_s + rng.random(count) * (high_s - low_s)

    _judges(truth, rng, say, waits)
    _users(calls, truth, rng, say, waits)
    records.sort(key=lambda record: record.time_ns)
    return records


def _judges(truth: Truth, rng: np.random.Generator, say: _Say, waits: _Waits) -> None:
    count = len(truth.right)
    judged = rng.random(count) < JUDGED_SHARE
    agrees = rng.random(count) < JUDGE_AGREES
    verdict = np.where(agrees, truth.right, ~truth.right)
    helpful = np.clip(np.rint((0.25 + 0.6 * verdict + 0.2 * rng.random(count)) * 20) / 20, 0, 1)
    confident = np.clip(np.rint((0.62 + 0.25 * truth.right + 0.12 * rng.random(count)) * 50) / 50, 0, 1)
    delay_s = waits(15, 45)
    say(judged, delay_s, _correct(verdict, "judge", "qwen-72b-judge"))
    say(judged, delay_s, _scores("helpful", helpful, "judge", "qwen-72b-judge"))
    say(judged, delay_s, _scores("confidence", confident, "judge", "qwen-72b-judge"))
    say(rng.random(count) < TRUTH_SHARE, waits(_MINUTE, 90 * _MINUTE), _correct(truth.right, "ground_truth", "ticket"))
    say(rng.random(count) < HUMAN_SHARE, waits(5 * _MINUTE, 300 * _MINUTE), _correct(truth.right, "human", "reviewer"))


def _users(calls: Calls, truth: Truth, rng: np.random.Generator, say: _Say, waits: _Waits) -> None:
    count = len(calls)
    right = truth.right & ~truth.refused
    slow = np.nan_to_num(calls.ttft_s) > SLOW_S

    def chance(shares: tuple[float, float], good: Truths) -> Truths:
        return rng.random(count) < np.where(good, shares[0], shares[1])

    up = chance(UP_SHARES, right)
    delay_s = waits(3, 60)
    thumbs = chance(THUMBS_SHARES, right)
    whose = list(zip(calls.user, calls.session, strict=True))

    def done(kind: str, chosen: Truths, values: list[str] | None = None) -> None:
        said = [b""] * count
        for row in np.flatnonzero(chosen).tolist():
            user, session = whose[row]
            said[row] = engagement_record(kind, user=user, session=session, value=values[row] if values else "")
        say(chosen, delay_s, said)

    done("thumbs", thumbs, ["up" if each else "down" for each in up.tolist()])
    done("copy", chance(COPY_SHARES, right))
    done("regenerate", chance(AGAIN_SHARES, right))
    done("abandon", truth.last & chance(ABANDON_SHARES, right & ~slow))
    done("report", rng.random(count) < REPORT_SHARE, ["wrong"] * count)


def _correct(right: Truths, source: str, evaluator: str) -> list[bytes]:
    said = [
        evaluation_record(Evaluation(name="correct", label=label, source=source, evaluator=evaluator))
        for label in ("no", "yes")
    ]
    return [said[each] for each in right.tolist()]


def _scores(name: str, scores: Floats, source: str, evaluator: str) -> list[bytes]:
    return [
        evaluation_record(Evaluation(name=name, label="", score=score, source=source, evaluator=evaluator))
        for score in scores.tolist()
    ]
