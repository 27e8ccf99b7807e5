"""`monitor alerts check`: what is wrong with rules, and where in the file."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from alerts.book import Book, make_book, may_come
from alerts.conditions.burn import Burn
from alerts.rules import Known, Rule
from monitor.errors import ConfigError
from monitor.settings import Settings
from monitor.settings.lines import Place, line_of, lines_of

# How messages about the file name a place: `alerts[2].kpii`, `alerts.2.above`.
_PLACE: Final = re.compile(r"`alerts(?:\[(\d+)\]|\.(\d+))(?:\.(\w+))?")


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing to say; `line` is that of the file, from 1."""

    level: Literal["error", "warning"]
    rule: str
    text: str
    line: int | None = None


def line_of_error(error: ConfigError, path: Path | None) -> int | None:
    """Line of what the message is about, if it names a place among the rules."""
    match = _PLACE.search(str(error))
    if match is None or path is None:
        return None
    place: Place = ("alerts", int(match[1] or match[2]), *([match[3]] if match[3] else []))
    return line_of(lines_of(path.read_text(encoding="utf-8")), place)


def lint(
    settings: Settings, known: Known, path: Path | None, stored: Mapping[str, Mapping[str, Any]] | None = None
) -> tuple[Book, list[Finding]]:
    """The rules, and what there is to say of them, errors first."""
    book = make_book(settings, known, stored)
    lines = lines_of(path.read_text(encoding="utf-8")) if path is not None else {}
    places = {rule.name: index for index, rule in enumerate(settings.alerts)}

    def where(rule: str, key: str) -> int | None:
        if rule not in places:
            return None
        return line_of(lines, ("alerts", places[rule], *key.split(".")))

    findings = [
        Finding(
            level="warning" if may_come(problem, settings) else "error",
            rule=problem.rule,
            text=problem.text,
            line=where(problem.rule, problem.key),
        )
        for problem in book.problems
        if problem.origin != "default" or not problem.waiting
    ]
    for rule in book.rules:
        findings += [
            Finding(
                level="warning",
                rule=rule.declared,
                text=f"alert rule `{rule.name}`: {text}",
                line=where(rule.declared, key),
            )
            for key, text in _advice(rule)
        ]
    return book, sorted(findings, key=lambda finding: (finding.level != "error", finding.line or 0))


def _advice(rule: Rule) -> Iterator[tuple[str, str]]:
    if isinstance(rule.condition, Burn):
        for row in rule.condition.rows:
            if row.lowered:
                yield (
                    "objective",
                    (
                        f"the usual factor over {row.long_s / 3600:g}h could never be reached, as every call that is bad burns"
                        f" {1 / (1 - rule.condition.target):.3g} times; it is lowered to {row.factor:.3g}"
                    ),
                )
    if rule.origin == "file" and rule.severity == "page" and not rule.runbook and rule.declared == rule.name:
        yield "severity", "pages somebody, and has no `runbook` that says what to do"
