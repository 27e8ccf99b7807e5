"""`monitor alerts test FILE`: rules against made series, by a clock of the test's own."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import yaml
from pydantic import Field, ValidationError

from alerts.book import known_from_settings, make_book
from alerts.evaluate import evaluate_rules
from alerts.kept import Kept, Key, RuleHealth
from alerts.made import MadeSource, Series, later, read_values
from alerts.model import State
from alerts.rules import Known, Rule
from monitor.errors import BadInput, ConfigError
from monitor.kpis import parse_duration
from monitor.settings import ObjectiveSettings, Section, Settings
from monitor.settings.alerts import read_rule
from monitor.settings.lines import line_of, lines_of
from monitor.settings.load import read_yaml

# A Monday noon: tests say times as lengths since then.
START: Final = datetime(2026, 1, 5, 12, tzinfo=UTC)
STEPS_MAX: Final = 100_000


class SeriesFile(Section):
    kpi: str
    group: dict[str, str] = Field({})
    values: str
    every: str = "15s"
    start: str = "0s"
    n: int = 1000
    margin: float | None = None


class Alarm(Section):
    rule: str
    group: dict[str, str] = Field({})
    summary: str = ""


class Expected(Section):
    at: str
    rule: str = ""
    group: dict[str, str] = Field({})
    state: State | None = None
    alarming: list[Alarm] | None = None


class TestFile(Section):
    name: str
    series: list[SeriesFile] = Field([])
    expect: list[Expected] = Field(min_length=1)


class File(Section):
    rules: list[dict[str, Any]] = Field([])
    objectives: list[ObjectiveSettings] = Field([])
    every: str = "15s"
    tests: list[TestFile] = Field(min_length=1)


@dataclass(frozen=True, kw_only=True)
class Failure:
    """What a test expected and did not find."""

    test: str
    text: str
    line: int | None = None


def run_file(path: Path, settings: Settings | None = None) -> tuple[int, list[Failure]]:
    """Run the tests of a file: how many there are, and what failed.

    Parameters
    ----------
    path : Path
    settings : Settings, optional
        Whose rules and objectives are tested, where the file holds none of its own.

    Raises
    ------
    ConfigError
        If the file, or a rule, is wrong.
    """
    text, file = _read(path)
    own = Settings.model_validate(
        {"objectives": [each.model_dump(exclude_none=True, exclude_defaults=True) for each in file.objectives]}
    )
    if file.rules:
        # Who would be told is not what is tested.
        rules = [read_rule(given).model_copy(update={"receivers": []}) for given in file.rules]
        settings = own.model_copy(
            update={"alerts": rules, "alerting": own.alerting.model_copy(update={"defaults": False})}
        )
    elif settings is None:
        raise ConfigError(
            f"{path}: has no `rules`, and there is no configuration to take them from; give one by --config"
        )
    every_s = _seconds(file.every)
    known = known_from_settings(settings, every_s=every_s)
    book = make_book(settings, known)
    if wrong := [problem for problem in book.problems if not problem.waiting]:
        raise ConfigError(f"{path}: {wrong[0].text}")
    lines = lines_of(text)
    failures = []
    for index, test in enumerate(file.tests):
        for place, said in _run(test, book.rules, known, every_s):
            line = line_of(lines, ("tests", index, "expect", place))
            failures.append(Failure(test=test.name, text=said, line=line))
    return len(file.tests), failures


def _read(path: Path) -> tuple[str, File]:
    try:
        text = path.read_text(encoding="utf-8")
        values = read_yaml(text)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"the test file {path} cannot be read: {error}") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        at = f", line {mark.line + 1}" if mark else ""
        raise ConfigError(f"{path}{at}: {getattr(error, 'problem', None) or 'not valid YAML'}") from None
    try:
        return text, File.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        line = line_of(lines_of(text), first["loc"])
        at = f", line {line}" if line else ""
        key = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"{path}{at}: `{key}`: {first['msg'].removeprefix('Value error, ').lower()}") from None


def _run(test: TestFile, rules: Any, known: Known, every_s: float) -> Iterator[tuple[int, str]]:
    """Place of each expectation that fails, and what was found instead."""
    source = MadeSource(
        [_series(each, known) for each in test.series], {name: kpi.unit for name, kpi in known.kpis.items()}
    )
    wanted = sorted(
        ((_seconds(each.at), place, each) for place, each in enumerate(test.expect)), key=lambda each: each[:2]
    )
    last_s = wanted[-1][0]
    if last_s / every_s > STEPS_MAX:
        raise BadInput(f"the test `{test.name}` takes more than {STEPS_MAX:,} evaluations; raise `every`")
    kept: Mapping[Key, Kept] = {}
    health: Mapping[str, RuleHealth] = {}
    step = 0
    for at_s, place, expected in wanted:
        while step * every_s <= at_s:
            found = evaluate_rules(source, rules, kept, health, now=later(START, step * every_s), lateness_s=0.0)
            kept, health = found.kept, found.health
            step += 1
        yield from ((place, said) for said in _compare(expected, kept, rules))


def _series(given: SeriesFile, known: Known) -> Series:
    if given.kpi not in known.kpis:
        raise ConfigError(f"there is no KPI `{given.kpi}`; the series of a test are of KPIs as in `monitor kpi`")
    return Series(
        kpi=given.kpi,
        group=given.group,
        start=later(START, _seconds(given.start)),
        every_s=_seconds(given.every),
        values=read_values(given.values),
        n=given.n,
        margin=given.margin,
    )


def _compare(expected: Expected, kept: Mapping[Key, Kept], rules: list[Rule]) -> Iterator[str]:
    instances = {(each.instance.rule, _group(each.instance.group)): each for each in kept.values()}
    if expected.state is not None:
        if expected.rule not in {rule.name for rule in rules}:
            yield f"there is no rule `{expected.rule}`; there are {', '.join(rule.name for rule in rules)}"
            return
        found = instances.get((expected.rule, _group(expected.group)))
        state = found.track.state if found else State.INACTIVE
        if state is not expected.state:
            yield f"at {expected.at} {_name(expected.rule, expected.group)} is {state}, not {expected.state}"
    if expected.alarming is not None:
        there = {key: each for key, each in instances.items() if each.track.alarming}
        wanted = {(each.rule, _group(each.group)): each for each in expected.alarming}
        for key, alarm in wanted.items():
            if key not in there:
                yield f"at {expected.at} {_name(*key)} does not alarm"
            elif alarm.summary and not re.search(alarm.summary, there[key].instance.summary):
                yield f"at {expected.at} the summary is `{there[key].instance.summary}`, not `{alarm.summary}`"
        for key in there:
            if key not in wanted:
                yield f"at {expected.at} {_name(*key)} alarms, which was not expected"


def _group(group: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(group.items()))


def _name(rule: str, group: Any) -> str:
    values = ", ".join(f"{name} {value}" for name, value in dict(group).items())
    return f"`{rule}`{f' ({values})' if values else ''}"


def _seconds(text: str) -> float:
    sign = -1.0 if text.startswith("-") else 1.0
    plain = text.lstrip("-")
    return 0.0 if plain in ("0", "0s") else sign * parse_duration(plain).total_seconds()
