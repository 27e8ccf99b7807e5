"""Sums over a long period at each of many steps, as an error budget needs them, from three statements.

The period that ends with a step is the one that ended with the step before, plus what came in, less what dropped out:
sums over the time up to the first step, and step by step over the window and over the window one period earlier.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from monitor.kpis.sources import Question

Row = dict[str, Any]
Ask = Callable[[Question], list[Row]]

_KEYS: Final = frozenset({"step", "group_n", "group_rank", "groups_total"})
_LEAST: Final = "calls__w_min"
_MOST: Final = "calls__w_max"


def rows(question: Question, steps: int, period_s: float, ask: Ask) -> list[Row]:
    """One row a group and step, as if each step had been asked for with its own period.

    Parameters
    ----------
    question : Question
        With steps.
    steps : int
        How many there are.
    period_s : float
        Length of the period that ends with each step, in seconds.
    ask : callable
        Question to rows, whose ingredients are sums or counts, but for the two extremes of the weights: those are of all
        rows that were looked at.
    """
    period_ns = round(period_s * 1e9)
    before = replace(question, start_ns=question.start_ns - period_ns, end_ns=question.start_ns, step_ns=None)
    earlier = replace(question, start_ns=question.start_ns - period_ns, end_ns=question.end_ns - period_ns)
    base = {_group(row, question): row for row in ask(before)}
    entering = _by_step(ask(question), question)
    leaving = _by_step(ask(earlier), question)
    found = []
    for group in _largest(base, entering, question):
        sums = _numbers(base.get(group, {}), question)
        for step in range(steps):
            sums = _moved(sums, entering.get((group, step), {}), leaving.get((group, step), {}), question)
            if sums.get("calls__n", 0) > 0:
                found.append({**dict(zip(question.group_keys, group, strict=True)), **sums, "step": step})
    return found


def _moved(sums: Row, entering: Mapping[str, Any], leaving: Mapping[str, Any], question: Question) -> Row:
    plus, minus = _numbers(entering, question), _numbers(leaving, question)
    moved = {name: sums.get(name, 0) + plus.get(name, 0) - minus.get(name, 0) for name in sums | plus}
    for name, choose in ((_LEAST, min), (_MOST, max)):
        ends = [each[name] for each in (sums, plus) if name in each and each.get("calls__n")]
        if ends:
            moved[name] = choose(ends)
    return moved


def _largest(
    base: Mapping[tuple[str, ...], Row], entering: Mapping[Any, Row], question: Question
) -> list[tuple[str, ...]]:
    sizes: dict[tuple[str, ...], int] = {group: int(row["calls__n"]) for group, row in base.items()}
    for (group, _), row in entering.items():
        sizes[group] = sizes.get(group, 0) + int(row["calls__n"])
    return sorted(sizes, key=lambda group: (-sizes[group], group))[: question.groups_max]


def _by_step(found: list[Row], question: Question) -> dict[tuple[tuple[str, ...], int], Row]:
    return {(_group(row, question), int(row["step"])): row for row in found}


def _group(row: Mapping[str, Any], question: Question) -> tuple[str, ...]:
    return tuple(row[key] for key in question.group_keys)


def _numbers(row: Mapping[str, Any], question: Question) -> Row:
    return {name: value for name, value in row.items() if name not in _KEYS and name not in question.group_keys}
