"""When a job is due, by its newest turn; which jobs run, by the configuration."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.errors import BadInput, ConfigError
from monitor.jobs.job import Context, Job, Outcome
from monitor.jobs.lease import RETRY_S, Last, State, decide, offset_s, slot
from monitor.jobs.plan import find, plan
from monitor.jobs.registry import JOBS as REGISTRY
from monitor.settings import Settings

JOB = "rollup"
EVERY_S = 600.0
# A time in the middle of an interval: 300 s after the begin of one.
MIDDLE = datetime.fromtimestamp(1_800_000_000 // EVERY_S * EVERY_S + offset_s(JOB, EVERY_S) + 300, UTC)


def nothing(context: Context) -> Outcome:
    return Outcome()


JOBS = {name: Job(name=name, meaning="Nothing.", every_s=EVERY_S, run=nothing) for name in (JOB, "drift")}


def test_the_page_tells_of_each_job() -> None:
    page = (Path(__file__).parents[2] / "docs" / "jobs.md").read_text(encoding="utf-8")
    for name, job in REGISTRY.items():
        assert name == job.name
        assert f"| `{name}` |" in page


def last(state: State, *, claim_s: float, sign_s: float) -> Last:
    return Last(round=7, holder="a", state=state, since_claim_s=claim_s, since_sign_s=sign_s)


@pytest.mark.parametrize(
    ("newest", "run", "again_s"),
    [
        pytest.param(None, True, None, id="never ran"),
        pytest.param(last("ok", claim_s=299, sign_s=298), False, None, id="ran in this interval"),
        pytest.param(last("ok", claim_s=301, sign_s=200), False, None, id="began early by the other's clock"),
        pytest.param(last("ok", claim_s=310, sign_s=200), True, None, id="ran in the interval before"),
        pytest.param(last("ok", claim_s=86_400, sign_s=86_300), True, None, id="missed many"),
        pytest.param(last("running", claim_s=5000, sign_s=3), False, 27.05, id="runs, and is alive"),
        pytest.param(last("running", claim_s=31, sign_s=30.5), True, None, id="runs, and was not heard of"),
        pytest.param(last("abandoned", claim_s=2, sign_s=1), True, None, id="stopped in the middle"),
        pytest.param(last("failed", claim_s=20, sign_s=10), False, RETRY_S - 10, id="failed just now"),
        pytest.param(last("failed", claim_s=100, sign_s=61), True, None, id="failed a while ago"),
        pytest.param(last("failed", claim_s=310, sign_s=1), True, None, id="failed, and the next interval began"),
    ],
)
def test_whether_it_is_due(newest: Last | None, run: bool, again_s: float | None) -> None:
    decision = decide(newest, job=JOB, every_s=EVERY_S, lease_s=30, now=MIDDLE)
    assert (decision.run, decision.again_s) == (run, pytest.approx(again_s) if again_s is not None else None)


def test_a_lease_without_end_is_not_waited_for() -> None:
    decision = decide(last("running", claim_s=9, sign_s=9), job=JOB, every_s=EVERY_S, lease_s=math.inf, now=MIDDLE)
    assert (decision.run, decision.again_s) == (False, None)


@given(every_s=st.floats(0.1, 1e6), start=st.floats(1e9, 2e9), skews=st.lists(st.floats(0, 1), min_size=2, max_size=5))
def test_processes_that_wake_up_together_run_it_once(every_s: float, start: float, skews: list[float]) -> None:
    """Whoever comes first takes the interval's turn; all others, later by less than the tolerance, leave it."""
    tolerance_s = min(every_s / 4, 2.0)
    due_s = (math.floor(start / every_s) + 1) * every_s + offset_s(JOB, every_s)
    woken = sorted(due_s + (skew - 0.5) * tolerance_s for skew in skews)
    before = last("ok", claim_s=every_s, sign_s=every_s)
    now = datetime.fromtimestamp(woken[0], UTC)
    assert decide(before, job=JOB, every_s=every_s, lease_s=30, now=now).run
    for at in woken[1:]:
        ran = last("ok", claim_s=at - woken[0], sign_s=0)
        assert not decide(ran, job=JOB, every_s=every_s, lease_s=30, now=datetime.fromtimestamp(at, UTC)).run


def test_the_next_interval_of_a_run() -> None:
    planned = plan(Settings(), JOBS)[JOB]
    due = planned.next_after(MIDDLE)
    assert due == MIDDLE + timedelta(seconds=300)
    assert slot(JOB, EVERY_S, due.timestamp()) == slot(JOB, EVERY_S, MIDDLE.timestamp()) + 1


def test_intervals_and_switches_come_from_the_configuration() -> None:
    planned = plan(Settings.model_validate({"jobs": {"intervals": {"drift": "1h30m"}, "off": [JOB]}}), JOBS)
    assert [(name, each.every_s, each.off) for name, each in planned.items()] == [
        (JOB, EVERY_S, True),
        ("drift", 5400.0, False),
    ]


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ({"off": ["rolup"]}, r"`jobs\.off` names no job with `rolup`; did you mean `rollup`\?"),
        ({"intervals": {"xyz": "1h"}}, r"`jobs\.intervals` names no job with `xyz`; known: rollup, drift"),
        ({"intervals": {"drift": "1 hour"}}, r"`jobs\.intervals\.drift`: `1 hour` is no duration"),
        ({"intervals": {"drift": "50ms"}}, r"`jobs\.intervals\.drift` is `50ms`; at least 100ms"),
    ],
)
def test_what_the_configuration_says_wrong(section: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        plan(Settings.model_validate({"jobs": section}), JOBS)


def test_an_unknown_job_is_refused_by_name() -> None:
    with pytest.raises(BadInput, match=r"no job `drif`; did you mean `drift`\?"):
        find(plan(Settings(), JOBS), "drif")
