"""`moderate`: run a chain of filters over a text within a time budget, decide, and record what was decided.

All filters start at once, in threads of their own (asynchronous ones in `amoderate` as tasks), and the answer is there
with the first that blocks, or when all are done, or when the budget is used up, whichever comes first. What is late is
abandoned: its result is thrown away, and `fail` decides in its place.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Final

from opentelemetry import trace

from monitor import semconv
from monitor.errors import ConfigError
from monitor.sdk.guard import once, swallow
from monitor.sdk.moderation_filters import BLOCK, Filter, Finding, filter_name, pii_filter, read_findings, rule_filter
from monitor.sdk.moderation_pool import Busy, pool
from monitor.sdk.sampling import MODERATION_BLOCKED

STAGES: Final = ("input", "output")
ALLOWED: Final = "allowed"
FLAGGED: Final = "flagged"
BLOCKED: Final = "blocked"
BUDGET_MS: Final = 500.0
# What the verdict names as category when it was `fail="closed"` that blocked.
UNDECIDED: Final = "undecided"

# On the span; the events beside it are OpenTelemetry's `gen_ai.evaluation.result`.
MODERATION_PREFIX: Final = "monitor.moderation."

Filters = Filter | Mapping[str, Any] | Iterable[Filter | Mapping[str, Any]] | None

_default: Final = (pii_filter(),)


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What was decided on one text.

    Attributes
    ----------
    action : {"allowed", "flagged", "blocked"}
    category, filter : str
        Of the gravest finding; empty if there is none.
    score : float
        Of that finding, from 0 to 1; 0 if there is none.
    stage : {"input", "output"}
    latency_s : float
        From the call to the decision.
    findings : tuple of (filter, Finding)
        All that was found in time.
    timed_out, failed : tuple of str
        Filters that were abandoned, and that raised an exception; `fail` has decided for them.
    """

    action: str
    category: str = ""
    score: float = 0.0
    filter: str = ""
    stage: str = "input"
    latency_s: float = 0.0
    findings: tuple[tuple[str, Finding], ...] = ()
    timed_out: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()

    @property
    def allowed(self) -> bool:
        """Whether the text may pass: it is not blocked."""
        return self.action != BLOCKED

    @property
    def flagged(self) -> bool:
        """Whether anything was found."""
        return self.action != ALLOWED

    @property
    def blocked(self) -> bool:
        """Whether the text must not pass."""
        return self.action == BLOCKED

    @property
    def attributes(self) -> dict[str, Any]:
        """The decision as attributes, for a call that begins later: `inference(…, attributes=verdict.attributes)`."""
        front = f"{MODERATION_PREFIX}{self.stage}."
        found: dict[str, Any] = {f"{front}action": self.action, f"{front}latency": self.latency_s}
        if self.category:
            found |= {f"{front}category": self.category, f"{front}score": self.score, f"{front}filter": self.filter}
        if self.timed_out or self.failed:
            found[f"{front}undecided"] = [*self.timed_out, *self.failed]
        if self.blocked:
            found[MODERATION_BLOCKED] = True
        return found

    def record(self) -> bool:
        """Record it on the current span: `moderate` has done so already if there was one. False if there is none."""
        span = trace.get_current_span()
        if not span.is_recording():
            return False
        span.set_attributes(self.attributes)
        error = "timeout" if self.timed_out else "filter_failed" if self.failed else ""
        # The name of the whole decision is that of its stage; each finding is a judgement of its own, by its category.
        summary = _event(f"moderation.{self.stage}", self.action, self.score, self.filter, self.category, error)
        span.add_event(semconv.EVALUATION_EVENT, {**summary, f"{MODERATION_PREFIX}latency": self.latency_s})
        for name, finding in self.findings:
            action = BLOCKED if finding.action == BLOCK else FLAGGED
            said = _event(finding.category, action, finding.score, name, self.stage, "")
            span.add_event(semconv.EVALUATION_EVENT, said)
        return True


def moderate(
    text: str,
    *,
    stage: str = "input",
    filters: Filters = None,
    budget_ms: float = BUDGET_MS,
    fail: str = "open",
) -> Verdict:
    """Decide whether a text may pass.

    The decision is recorded on the current call, if there is one.

    Parameters
    ----------
    text : str
        Prompt or completion. It is not recorded.
    stage : {"input", "output"}
        Which of the two.
    filters
        Filters, functions, and dicts of rules (see `rule_filter`), in any order; personal data are looked for by default.
    budget_ms : float
        Longest wait, in milliseconds. What takes longer is abandoned.
    fail : {"open", "closed"}
        Whether a text passes if a filter was late or raised an exception, and no other has blocked it.

    Raises
    ------
    ConfigError
        If an argument is wrong. An exception of a filter is never raised.
    """
    chain = _checked(text, stage, filters, budget_ms, fail)
    started = perf_counter()
    gathered = _Gathered(chain)
    futures: dict[Future[Any], str] = {}
    for name, one in chain:
        try:
            futures[pool.submit(_run_of(one, text))] = name
        except Busy as error:
            gathered.fail(name, error)
    left = set(futures)
    while left and not gathered.blocked:
        remaining_s = budget_ms / 1000 - (perf_counter() - started)
        done, left = wait(left, timeout=max(0.0, remaining_s), return_when=FIRST_COMPLETED)
        if not done:
            break
        for future in done:
            gathered.take(futures[future], future.result, future.exception())
    for future in left:
        # One that has not begun never will; one that runs ends when it ends.
        future.cancel()
    return gathered.decide([futures[future] for future in left], stage, fail, perf_counter() - started)


async def amoderate(
    text: str,
    *,
    stage: str = "input",
    filters: Filters = None,
    budget_ms: float = BUDGET_MS,
    fail: str = "open",
) -> Verdict:
    """As `moderate`, without blocking the event loop; asynchronous filters run in it, and are cancelled when late."""
    import asyncio

    chain = _checked(text, stage, filters, budget_ms, fail)
    started = perf_counter()
    gathered = _Gathered(chain)
    tasks: dict[asyncio.Future[Any], str] = {}
    for name, one in chain:
        try:
            if _is_async(one):
                tasks[asyncio.ensure_future(_awaited(one, text))] = name
            else:
                tasks[asyncio.wrap_future(pool.submit(_run_of(one, text)))] = name
        except Busy as error:
            gathered.fail(name, error)
    left = set(tasks)
    try:
        while left and not gathered.blocked:
            remaining_s = budget_ms / 1000 - (perf_counter() - started)
            done, left = await asyncio.wait(left, timeout=max(0.0, remaining_s), return_when=asyncio.FIRST_COMPLETED)
            if not done:
                break
            for task in done:
                trouble = asyncio.CancelledError() if task.cancelled() else task.exception()
                gathered.take(tasks[task], task.result, trouble)
    finally:
        for task in left:
            task.cancel()
    return gathered.decide([tasks[task] for task in left], stage, fail, perf_counter() - started)


class _Gathered:
    """What the filters said so far."""

    def __init__(self, chain: list[tuple[str, Filter]]) -> None:
        self._order = [name for name, _ in chain]
        self._findings: list[tuple[str, Finding]] = []
        self._failed: list[str] = []

    @property
    def blocked(self) -> bool:
        return any(finding.action == BLOCK for _, finding in self._findings)

    def fail(self, name: str, error: BaseException) -> None:
        self._failed.append(name)
        # Messages of other errors may quote the text.
        reason = f": {error}" if isinstance(error, OSError | ConfigError | Busy) else ""
        message = f"monitor: moderation filter {name} failed ({type(error).__name__}{reason}); `fail` decides instead"
        once(f"moderation {name} {type(error).__name__}", logging.WARNING, message)

    def take(self, name: str, result: Callable[[], object], error: BaseException | None) -> None:
        if error is None:
            try:
                self._findings += [(name, finding) for finding in read_findings(result(), name=name)]
            except Exception as wrong:
                error = wrong
        if error is not None:
            self.fail(name, error)

    def decide(self, late: list[str], stage: str, fail: str, latency_s: float) -> Verdict:
        blocked = self.blocked
        # Once one has blocked, nobody waits for the others: they are not late.
        timed_out = () if blocked else tuple(sorted(late, key=self._order.index))
        failed = tuple(sorted(self._failed, key=self._order.index))
        order = self._order
        findings = sorted(
            self._findings, key=lambda found: (found[1].action != BLOCK, -found[1].score, order.index(found[0]))
        )
        action, name, category, score = ALLOWED, "", "", 0.0
        if findings:
            name, gravest = findings[0]
            action, category, score = BLOCKED if blocked else FLAGGED, gravest.category, gravest.score
        undecided = (*timed_out, *failed)
        if undecided and not blocked and fail == "closed":
            action, name, category, score = BLOCKED, undecided[0], UNDECIDED, 0.0
        verdict = Verdict(
            action=action, category=category, score=score, filter=name, stage=stage, latency_s=latency_s,
            findings=tuple(findings), timed_out=timed_out, failed=failed,
        )  # fmt: skip
        try:
            verdict.record()
        except Exception:
            swallow("recording a moderation")
        return verdict


def _checked(text: object, stage: str, filters: Filters, budget_ms: object, fail: str) -> list[tuple[str, Filter]]:
    if not isinstance(text, str):
        raise ConfigError(f"monitor.moderate: text must be a string, got {type(text).__name__}.")
    if stage not in STAGES:
        raise ConfigError(f"monitor.moderate: stage={stage!r} is neither 'input' nor 'output'.")
    if fail not in ("open", "closed"):
        raise ConfigError(f"monitor.moderate: fail={fail!r} is neither 'open' nor 'closed'.")
    if isinstance(budget_ms, bool) or not isinstance(budget_ms, int | float) or not 0 < budget_ms < float("inf"):
        raise ConfigError(f"monitor.moderate: budget_ms={budget_ms!r} must be a positive number of milliseconds.")
    if filters is None:
        given: list[Any] = list(_default)
    elif isinstance(filters, Mapping) or callable(filters):
        given = [filters]
    else:
        given = list(filters)
    chain: list[tuple[str, Filter]] = []
    names: dict[str, int] = {}
    for one in given:
        used: Any = rule_filter(one) if isinstance(one, Mapping) else one
        if not callable(used):
            raise ConfigError(f"monitor.moderate: {one!r} is no filter; give a function, or a dict of rules.")
        name = filter_name(used)
        names[name] = names.get(name, 0) + 1
        chain.append((name if names[name] == 1 else f"{name}-{names[name]}", used))
    return chain


def _is_async(one: Filter) -> bool:
    return inspect.iscoroutinefunction(one) or inspect.iscoroutinefunction(getattr(one, "__call__", None))  # noqa: B004


def _run_of(one: Filter, text: str) -> Callable[[], object]:
    def run() -> object:
        found = one(text)
        if not inspect.isawaitable(found):
            return found
        import asyncio

        async def result() -> object:
            return await found

        # A thread of the pool has no event loop.
        return asyncio.run(result())

    return run


async def _awaited(one: Filter, text: str) -> object:
    found = one(text)
    return await found if inspect.isawaitable(found) else found


def _event(name: str, label: str, score: float, evaluator: str, explanation: str, error: str) -> dict[str, Any]:
    said: dict[str, Any] = {
        "gen_ai.evaluation.name": name,
        "gen_ai.evaluation.score.value": score,
        "gen_ai.evaluation.score.label": label,
        semconv.EVALUATION_SOURCE: "moderation",
        semconv.EVALUATION_EVALUATOR: evaluator,
    }
    if explanation:
        said["gen_ai.evaluation.explanation"] = explanation
    if error:
        said[semconv.ERROR_TYPE] = error
    return said
