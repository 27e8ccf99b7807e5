"""Rules, ready to be evaluated: what the file or the dashboard says, held against KPIs, units and dimensions."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Final, Literal, NoReturn, TypeVar

from alerts.conditions import Condition
from alerts.conditions.absent import Absent
from alerts.conditions.anomaly import Anomaly
from alerts.conditions.band import Band
from alerts.conditions.burn import Burn, burn_rows
from alerts.conditions.change import Change
from alerts.conditions.plain import Always, Health
from alerts.conditions.subject import Subject
from alerts.model import Severity
from alerts.quantity import amount_text, bounds, duration_text, read_amount, read_share
from alerts.texts import check_template
from monitor.errors import BadInput, ConfigError
from monitor.kpis import check_by, check_where, parse_duration
from monitor.kpis.kpi import Kpi
from monitor.kpis.registry import resolve
from monitor.kpis.sources import SOURCES
from monitor.settings import AlertRule
from monitor.settings.alerts import CONDITIONS

T = TypeVar("T")
Origin = Literal["file", "dashboard", "default"]

# Below so many samples chance alone makes shares and quantiles jump.
MIN_SAMPLES: Final = 20
_SAMPLED: Final = frozenset({"traffic", "latency", "objective", "accuracy", "safety", "engagement"})
_WINDOWS: Final = {"anomaly": "15m", "change": "15m", "absent": "10m"}
_HEALTH_BY: Final = {"jobs": "job", "rules": "rule", "notifications": "receiver"}
# What a text may use beside the group's dimensions.
FACTS: Final = ("value", "threshold", "low", "high", "n", "unit", "kpi", "rule", "window", "condition", "detail")


@dataclass(frozen=True, kw_only=True)
class Promise:
    """What an objective promises."""

    target: float
    period_days: float


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Clocks of a rule, in seconds; `quiet_s` is how long too little data leaves an alert as it is."""

    for_s: float = 0.0
    keep_firing_for_s: float = 0.0
    quiet_s: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One rule as it is evaluated; an objective makes two of them, for what is urgent and for what is not."""

    name: str
    condition: Condition
    kpi: str
    by: tuple[str, ...] = ()
    where: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    window_s: float = 0.0
    timing: Timing = Timing()
    severity: Severity = "ticket"
    receivers: tuple[str, ...] = ()
    runbook: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    no_data: Literal["ok", "alert", "keep"] = "ok"
    error: Literal["keep", "alert", "ok"] = "keep"
    origin: Origin = "file"
    declared: str = ""

    @cached_property
    def words(self) -> str:
        """The condition for people: `above 500 ms for 5m`."""
        lasting = f" for {duration_text(self.timing.for_s)}" if self.timing.for_s else ""
        return f"{self.condition.words}{lasting}"


@dataclass(frozen=True, kw_only=True)
class Known:
    """What rules can be about now."""

    kpis: Mapping[str, Kpi]
    promises: Mapping[str, Promise]
    every_s: float = 15.0


class RuleError(ConfigError):
    """A rule that cannot be; `key` is the part of it that is wrong."""

    def __init__(self, rule: str, key: str, text: str) -> None:
        super().__init__(f"alert rule `{rule}`: `{key}`: {text}" if key else f"alert rule `{rule}`: {text}")
        self.rule = rule
        self.key = key


def compile_rule(given: AlertRule, known: Known, *, origin: Origin = "file") -> list[Rule]:
    """The rule, checked; for an objective, one rule for each severity.

    Raises
    ------
    RuleError
        Naming the key, what came and what was wanted.
    """
    return _Compiler(given, known, origin).rules()


def _is_given(value: object) -> bool:
    # 0 is a threshold, and it equals False.
    return value is not None and value is not False and value != ""


class _Compiler:
    def __init__(self, given: AlertRule, known: Known, origin: Origin) -> None:
        self.given = given
        self.known = known
        self.origin = origin

    def rules(self) -> list[Rule]:
        kinds = [key for key in CONDITIONS if _is_given(getattr(self.given, key))]
        if set(kinds) == {"above", "below"}:
            self._refuse("above", "is given beside `below`; a band is `outside: [low, high]`")
        if len(kinds) != 1:
            said = "none is given" if not kinds else f"{' and '.join(f'`{kind}`' for kind in kinds)} are given"
            self._refuse("", f"needs exactly one of {', '.join(CONDITIONS)}; {said}")
        kind = kinds[0]
        by, where = self._by(), self._where()
        if kind == "objective":
            return self._objectives(by, where)
        if kind in ("health", "always"):
            for key in ("kpi", "by", "where", "recover", "min_samples"):
                if getattr(self.given, key) not in (None, "", [], {}):
                    self._refuse(key, f"is of no use with `{kind}`; leave it out")
            if kind == "always":
                return [self._rule(Always(), kpi="", by=(), where={}, window_s=0.0)]
            by = (_HEALTH_BY[self.given.health],)
            return [self._rule(Health(of=self.given.health, by=by), kpi="", by=by, where={}, window_s=0.0)]
        kpi = self._kpi(default="traffic.requests" if kind == "absent" else "")
        self._refuse_unsplittable(kpi, by, where)
        window_s = self._window(kind)
        subject = Subject(
            kpi=kpi.name,
            unit=kpi.unit,
            window_s=window_s,
            by=by,
            where=tuple(sorted(where.items())),
            min_samples=self._min_samples(kpi),
            empty=kpi.empty is not None,
            better=kpi.better,
            intervals=self._needs_intervals(kind),
        )
        condition = self._condition(kind, subject, kpi)
        return [self._rule(condition, kpi=kpi.name, by=by, where=where, window_s=window_s)]

    def _condition(self, kind: str, subject: Subject, kpi: Kpi) -> Condition:
        given = self.given
        if given.recover is not None and kind in ("change", "anomaly", "absent"):
            self._refuse("recover", f"is of no use with `{kind}`; `keep_firing_for` makes an alert last")
        if given.confident and kind not in ("above", "below", "outside"):
            self._refuse("confident", f"is of no use with `{kind}`; leave it out")
        if kind == "change":
            assert given.change is not None
            relative = given.change.relative
            return Change(
                of=subject,
                against=given.change.against,
                direction=given.change.direction,
                relative=0.0 if relative is None else self._try("change", lambda: read_share(relative)),
                absolute=0.0
                if given.change.absolute is None
                else abs(self._amount("change", given.change.absolute, kpi)),
                apart=given.change.apart,
            )
        if kind == "anomaly":
            assert given.anomaly is not None
            if given.anomaly.least_history > given.anomaly.history:
                self._refuse("anomaly", "asks for a `least_history` of more than its `history`")
            return Anomaly(
                of=subject,
                season=given.anomaly.season,
                history=given.anomaly.history,
                least_history=given.anomaly.least_history,
                limit=given.anomaly.limit,
                direction=given.anomaly.direction,
            )
        if kind == "absent":
            assert given.absent is not None
            within_s = self._duration("absent", given.absent.within)
            if within_s <= subject.window_s:
                self._refuse(
                    "absent",
                    f"looks back `within` {duration_text(within_s)}, and the window is {duration_text(subject.window_s)}"
                    " already; look back further",
                )
            return Absent(of=subject, within_s=within_s, expected=given.absent.expected)
        return self._band(kind, subject, kpi)

    def _band(self, kind: str, subject: Subject, kpi: Kpi) -> Band:
        low, high = -math.inf, math.inf
        if self.given.outside is not None:
            low, high = (self._amount("outside", each, kpi) for each in self.given.outside)
            if low >= high:
                self._refuse("outside", f"must be the lower bound, then the upper one, not {low:g} and {high:g}")
        if self.given.above is not None:
            high = self._amount("above", self.given.above, kpi)
        if self.given.below is not None:
            low = self._amount("below", self.given.below, kpi)
        self._refuse_impossible(kind, low, high, kpi)
        recover_low, recover_high = self._recover(kind, low, high, kpi)
        return Band(
            of=subject,
            low=low,
            high=high,
            recover_low=recover_low,
            recover_high=recover_high,
            confident=self.given.confident,
        )

    def _refuse_impossible(self, kind: str, low: float, high: float, kpi: Kpi) -> None:
        least, most = bounds(kpi)
        if kpi.name.endswith(".burn_rate") and (promise := self.known.promises.get(kpi.name.split(".")[1])):
            most = 1.0 / (1.0 - promise.target)
        if math.isfinite(high) and high >= most:
            nearest = f"; did you mean `{high:g} %`?" if kpi.unit == "1" and 1 < high <= 100 else ""
            self._refuse(kind, f"{high:g} can never be exceeded: {kpi.name} is at most {most:g}{nearest}")
        if math.isfinite(low) and low <= least and not (kind == "outside" and low == least):
            self._refuse(kind, f"nothing can be below {low:g}: {kpi.name} is at least {least:g}")
        if kind == "above" and high < least:
            self._refuse(kind, f"{high:g} is always exceeded: {kpi.name} is at least {least:g}")
        if kind == "below" and low > most:
            nearest = f"; did you mean `{low:g} %`?" if kpi.unit == "1" and low <= 100 else ""
            self._refuse(kind, f"{low:g} is never reached: {kpi.name} is at most {most:g}{nearest}")

    def _recover(self, kind: str, low: float, high: float, kpi: Kpi) -> tuple[float, float]:
        given = self.given.recover
        if given is None:
            return low, high
        if kind == "outside":
            if not isinstance(given, list) or len(given) != 2:
                self._refuse("recover", "must be two bounds within those of `outside`, such as [0.3, 0.7]")
            inner_low, inner_high = (self._amount("recover", each, kpi) for each in given)
            if not low <= inner_low < inner_high <= high:
                self._refuse(
                    "recover", f"must lie within {low:g} and {high:g}, not at {inner_low:g} and {inner_high:g}"
                )
            return inner_low, inner_high
        if isinstance(given, list):
            self._refuse("recover", f"is one number with `{kind}`")
        number = self._amount("recover", given, kpi)
        text = amount_text(number, kpi.unit)
        if kind == "above":
            if number > high:
                self._refuse(
                    "recover",
                    f"is {text}, on the wrong side: what fires above {amount_text(high, kpi.unit)} recovers below it",
                )
            return low, number
        if number < low:
            self._refuse(
                "recover",
                f"is {text}, on the wrong side: what fires below {amount_text(low, kpi.unit)} recovers above it",
            )
        return number, high

    def _objectives(self, by: tuple[str, ...], where: dict[str, tuple[str, ...]]) -> list[Rule]:
        for key in ("kpi", "window", "recover"):
            if getattr(self.given, key):
                self._refuse(key, "is of no use with `objective`, which has its own; leave it out")
        wanted = self.given.objective
        promises = self.known.promises
        if wanted != "*" and wanted not in promises:
            near = difflib.get_close_matches(wanted, promises, n=1, cutoff=0.5)
            advice = f"did you mean `{near[0]}`?" if near else f"known are {', '.join(promises) or 'none'}"
            self._refuse("objective", f"there is no objective `{wanted}`; {advice}")
        found = []
        for name, promise in promises.items():
            if wanted in ("*", name):
                found += self._objective(name, promise, by, where)
        return found

    def _objective(
        self, name: str, promise: Promise, by: tuple[str, ...], where: dict[str, tuple[str, ...]]
    ) -> list[Rule]:
        kpi = self.known.kpis.get(f"objective.{name}.burn_rate")
        if kpi is None:
            return []
        self._refuse_unsplittable(kpi, by, where)
        rows = burn_rows(target=promise.target, period_days=promise.period_days)
        front = f"{self.given.name}-{name}" if self.given.objective == "*" else self.given.name
        found = []
        for severity, end in (("page", "fast"), ("ticket", "slow")):
            mine = [row for row in rows if row.severity == severity]
            if not mine:
                continue
            least = 1 if self.given.min_samples is None else self.given.min_samples
            subject = Subject(
                kpi=kpi.name,
                unit=kpi.unit,
                window_s=mine[0].long_s,
                by=by,
                where=tuple(sorted(where.items())),
                min_samples=least,
                better="lower",
            )
            found.append(
                self._rule(
                    Burn(of=subject, rows=mine, target=promise.target),
                    kpi=kpi.name,
                    by=by,
                    where=where,
                    window_s=mine[0].long_s,
                    name=f"{front}-{end}",
                    severity=severity,  # type: ignore[arg-type]
                    objective=name,
                )
            )
        return found

    def _rule(
        self,
        condition: Condition,
        *,
        kpi: str,
        by: tuple[str, ...],
        where: dict[str, tuple[str, ...]],
        window_s: float,
        name: str | None = None,
        severity: Severity | None = None,
        objective: str = "",
    ) -> Rule:
        given = self.given
        labels = dict(given.labels) | ({"objective": objective} if objective else {})
        for label, text in labels.items():
            if label in by:
                self._refuse("labels", f"`{label}` is a dimension of the group already")
            self._try(f"labels.{label}", partial(check_template, text, by))
        for annotation, text in given.annotations.items():
            self._try(f"annotations.{annotation}", partial(check_template, text, (*by, *labels, *FACTS)))
        timing = Timing(
            for_s=self._optional("for", given.for_),
            keep_firing_for_s=self._optional("keep_firing_for", given.keep_firing_for),
            quiet_s=window_s,
        )
        return Rule(
            name=name or given.name,
            condition=condition,
            kpi=kpi,
            by=by,
            where=where,
            window_s=window_s,
            timing=timing,
            severity=severity or given.severity,
            receivers=tuple(given.receivers),
            runbook=given.runbook,
            labels=labels,
            annotations=dict(given.annotations),
            no_data=given.no_data,
            error=given.error,
            origin=self.origin,
            declared=given.name,
        )

    def _kpi(self, *, default: str) -> Kpi:
        name = self.given.kpi or default
        if not name:
            self._refuse("kpi", "is not given; `monitor kpi` shows which there are")
        if name not in self.known.kpis:
            try:
                resolve([name], self.known.kpis)
            except BadInput as error:
                self._refuse("kpi", str(error))
            several = [each for each in self.known.kpis if each.startswith(f"{name.rstrip('.')}.")]
            self._refuse("kpi", f"`{name}` is the front of several; give one, such as `{several[0]}`")
        return self.known.kpis[name]

    def _by(self) -> tuple[str, ...]:
        return self._try("by", lambda: check_by(self.given.by))

    def _where(self) -> dict[str, tuple[str, ...]]:
        return self._try("where", lambda: check_where(self.given.where))

    def _refuse_unsplittable(self, kpi: Kpi, by: Sequence[str], where: Mapping[str, object]) -> None:
        source = SOURCES[kpi.source]
        for key, names, known in (("by", by, source.dimensions), ("where", where, source.where_keys)):
            for name in names:
                if name not in known:
                    self._refuse(key, f"{kpi.name} is not known by {name}; it is by {', '.join(known) or 'nothing'}")

    def _window(self, kind: str) -> float:
        text = self.given.window or _WINDOWS.get(kind, "5m")
        window_s = self._duration("window", text)
        if window_s < self.known.every_s:
            self._refuse(
                "window",
                f"of {text} is shorter than the time from one evaluation to the next ({duration_text(self.known.every_s)}),"
                " so that some calls would never be looked at",
            )
        return window_s

    def _needs_intervals(self, kind: str) -> bool:
        change = self.given.change
        return self.given.confident or kind == "anomaly" or (change is not None and change.apart)

    def _min_samples(self, kpi: Kpi) -> int:
        if self.given.min_samples is not None:
            return self.given.min_samples
        return MIN_SAMPLES if kpi.family in _SAMPLED and kpi.empty is None else 0

    def _optional(self, key: str, text: str) -> float:
        return self._duration(key, text) if text not in ("", "0", "0s") else 0.0

    def _duration(self, key: str, text: str) -> float:
        return self._try(key, lambda: parse_duration(text).total_seconds())

    def _amount(self, key: str, given: float | str, kpi: Kpi) -> float:
        return self._try(key, lambda: read_amount(given, kpi))

    def _try(self, key: str, work: Callable[[], T]) -> T:
        try:
            return work()
        except BadInput as error:
            self._refuse(key, str(error))

    def _refuse(self, key: str, text: str) -> NoReturn:
        raise RuleError(self.given.name, key, text) from None
