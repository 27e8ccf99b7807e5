"""All rules together: of the file, of the dashboard, and those that are there by default."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from alerts.defaults import DEFAULTS, laid_over_default, makes_sense
from alerts.rules import Known, Origin, Promise, Rule, RuleError, compile_rule
from monitor.errors import BadInput, ConfigError
from monitor.kpis import REGISTRY
from monitor.kpis.families.objective import kpis_of
from monitor.kpis.registry import known as known_kpis
from monitor.settings import AlertRule, Settings
from monitor.settings.alerts import read_rule
from monitor.settings.objectives import period_days
from monitor.store import Client
from monitor.store.objectives import Objective, Version, read_objectives


@dataclass(frozen=True, kw_only=True)
class Problem:
    """What is wrong with a declared rule; `waiting`: nothing is, but what it is about is not there yet."""

    rule: str
    origin: Origin
    key: str
    text: str
    waiting: bool = False


@dataclass(frozen=True, kw_only=True)
class Declared:
    """A rule as somebody wrote it, laid over the default of that name if there is one."""

    rule: AlertRule
    origin: Origin


@dataclass(frozen=True, kw_only=True)
class Book:
    """All rules that are evaluated, and what is wrong with the others."""

    rules: Sequence[Rule]
    problems: Sequence[Problem]
    declared: Sequence[Declared]

    @property
    def broken(self) -> dict[str, str]:
        """Rule -> why it cannot be evaluated."""
        return {problem.rule: problem.text for problem in self.problems if not problem.waiting}


def make_book(settings: Settings, known: Known, stored: Mapping[str, Mapping[str, Any]] | None = None) -> Book:
    """All rules, checked.

    Parameters
    ----------
    settings : Settings
    known : Known
        KPIs and objectives that rules may name.
    stored : mapping, optional
        Name -> definition of the rules that were made in the dashboard.
    """
    declared, problems = _declared(settings, stored or {})
    known = _in_currency(known, settings)
    rules: list[Rule] = []
    for each in declared:
        if not each.rule.enabled:
            continue
        try:
            _refuse_unknown_receivers(each.rule, settings)
            rules += compile_rule(each.rule, _left_to(each, declared, known), origin=each.origin)
        except RuleError as error:
            # A default is about what this release may not measure yet.
            waiting = each.origin == "default" and error.key == "kpi"
            if not waiting or each.rule.name in {rule.name for rule in settings.alerts}:
                problems.append(
                    Problem(rule=each.rule.name, origin=each.origin, key=error.key, text=str(error), waiting=waiting)
                )
    return Book(rules=_once(rules, problems), problems=problems, declared=declared)


def _declared(settings: Settings, stored: Mapping[str, Mapping[str, Any]]) -> tuple[list[Declared], list[Problem]]:
    found: list[Declared] = []
    problems: list[Problem] = []
    for rule in settings.alerts:
        given = rule.model_dump(mode="json", by_alias=True, exclude_unset=True)
        found.append(Declared(rule=read_laid(given), origin="file"))
    names = {rule.name for rule in settings.alerts}
    for name, definition in stored.items():
        if name in names:
            text = f"alert rule `{name}` of the dashboard is not used: the configuration file has a rule of that name"
            problems.append(Problem(rule=name, origin="dashboard", key="name", text=text, waiting=True))
            continue
        names.add(name)
        try:
            rule = read_laid(definition)
        except BadInput as error:
            problems.append(Problem(rule=name, origin="dashboard", key="", text=str(error)))
            continue
        found.append(Declared(rule=rule, origin="dashboard"))
    if settings.alerting.defaults:
        for default in DEFAULTS:
            if default["name"] not in names and makes_sense(default["name"], settings):
                found.append(Declared(rule=AlertRule(**default), origin="default"))
    return found, problems


def _refuse_unknown_receivers(rule: AlertRule, settings: Settings) -> None:
    for name in rule.receivers:
        if name not in settings.receivers:
            near = difflib.get_close_matches(name, settings.receivers, n=1, cutoff=0.5)
            advice = f"did you mean `{near[0]}`?" if near else f"known are {', '.join(settings.receivers) or 'none'}"
            raise RuleError(rule.name, "receivers", f"there is no receiver `{name}`; {advice}")


def _left_to(mine: Declared, declared: Sequence[Declared], known: Known) -> Known:
    """What a rule can be about; objectives that have a rule of their own are not left to that for all of them."""
    if mine.rule.objective != "*":
        return known
    own = {each.rule.objective for each in declared if each is not mine and each.rule.objective and each.rule.enabled}
    if "*" in own and mine.origin == "default":
        return replace(known, promises={})
    return replace(known, promises={name: promise for name, promise in known.promises.items() if name not in own})


def check_rule(settings: Settings, rule: AlertRule, known: Known) -> list[Rule]:
    """A rule that somebody wants to keep in the store, as it would be evaluated; none of one that is switched off.

    Raises
    ------
    RuleError
        Naming the key, what came and what was wanted.
    """
    if not rule.enabled:
        return []
    _refuse_unknown_receivers(rule, settings)
    return compile_rule(rule, _in_currency(known, settings), origin="dashboard")


def _in_currency(known: Known, settings: Settings) -> Known:
    """Costs by the code of the currency that they are told in, as thresholds and messages are read by people."""
    code = settings.prices.currency
    kpis = {name: replace(kpi, unit=kpi.unit.replace("currency", code)) for name, kpi in known.kpis.items()}
    return replace(known, kpis=kpis)


def read_laid(given: Mapping[str, Any]) -> AlertRule:
    """A rule from plain data, laid over the default of that name if there is one.

    Raises
    ------
    ConfigError
        Naming the key, what came and what was wanted.
    """
    return read_rule(laid_over_default(dict(given)))


def _once(rules: Iterable[Rule], problems: list[Problem]) -> list[Rule]:
    """Rules of objectives have names that are made; they may meet another's."""
    found: dict[str, Rule] = {}
    for rule in rules:
        if rule.name in found:
            text = (
                f"alert rule `{rule.declared}`: its name `{rule.name}` is that of another rule; rename one of the two"
            )
            problems.append(Problem(rule=rule.declared, origin=rule.origin, key="name", text=text))
        else:
            found[rule.name] = rule
    return list(found.values())


def known_from_settings(settings: Settings, *, every_s: float = 15.0) -> Known:
    """What the configuration alone says of KPIs: those of objectives, but not those of scores that came."""
    kpis = dict(REGISTRY)
    for objective in settings.objectives:
        definition = Objective(**objective.model_dump(exclude_none=True))
        version = Version(objective=definition, start_ns=None, end_ns=None)
        kpis |= {kpi.name: kpi for kpi in kpis_of([version])}
    promises = {
        each.name: Promise(target=each.target, period_days=period_days(each.period)) for each in settings.objectives
    }
    return Known(kpis=kpis, promises=promises, every_s=every_s)


def known_from_store(client: Client, names: Iterable[str], *, every_s: float = 15.0) -> Known:
    """What the store knows of these KPIs, and of objectives."""
    objectives = read_objectives(client)
    promises = {
        name: Promise(target=versions[-1].objective.target, period_days=period_days(versions[-1].objective.period))
        for name, versions in objectives.items()
    }
    return Known(kpis=known_kpis(client, [*names, "objective."]), promises=promises, every_s=every_s)


def refuse_wrong_rules(settings: Settings) -> None:
    """Say what is wrong with the file's rules before anything is started.

    What only the store knows, such as the names of scores, is not held against it.

    Raises
    ------
    ConfigError
        Of the first rule that can never be evaluated.
    """
    book = make_book(settings, known_from_settings(settings))
    for problem in book.problems:
        if problem.origin == "file" and not may_come(problem, settings):
            raise ConfigError(problem.text)


def may_come(problem: Problem, settings: Settings) -> bool:
    """Whether it may be right once the store has what the rule is about."""
    if problem.waiting:
        return True
    kpis = [rule.kpi for rule in settings.alerts if rule.name == problem.rule]
    return problem.key == "kpi" and any(kpi.startswith(("accuracy.score.", "drift.", "bias.")) for kpi in kpis)


__all__ = ["Book", "Declared", "Problem", "check_rule", "known_from_settings", "known_from_store", "make_book"]
