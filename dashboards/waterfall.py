"""The tree of one trace, laid out as rows: nested by parent, whatever is missing, doubled, cyclic or out of step.

Clocks of two machines differ. A child that begins before its parent cannot be, so if it comes from another machine or
service, it and what hangs below it is moved: into the middle of its parent if it fits there, else to its start.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

ROWS_MAX: Final = 150


@dataclass(frozen=True, kw_only=True)
class Span:
    """One span as it is stored; times in nanoseconds since 1970."""

    span_id: str
    parent_id: str
    name: str
    kind: str
    service: str
    scope: str = ""
    start_ns: int
    duration_ns: int
    failed: bool = False
    message: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict)
    resource: Mapping[str, str] = field(default_factory=dict)
    events: tuple[tuple[int, str, Mapping[str, str]], ...] = ()
    links: tuple[tuple[str, str], ...] = ()

    @property
    def machine(self) -> tuple[str, str]:
        """Whose clock its times are from, as far as is known."""
        resource = self.resource
        host = resource.get("host.name") or resource.get("k8s.node.name") or resource.get("monitor.node") or ""
        return self.service, host


@dataclass(frozen=True, kw_only=True)
class Row:
    """A span at its place: `shift_ns` is what its start was moved by, `orphan` says that its parent is not there."""

    span: Span
    depth: int
    shift_ns: int = 0
    orphan: bool = False

    @property
    def start_ns(self) -> int:
        return self.span.start_ns + self.shift_ns

    @property
    def end_ns(self) -> int:
        return self.start_ns + self.span.duration_ns


def lay_out(spans: Sequence[Span], *, correct_clocks: bool = True) -> list[Row]:
    """Every span once: parents before children, brothers by their start."""
    by_id = {span.span_id: span for span in spans}
    children: dict[str, list[Span]] = {}
    roots: list[Span] = []
    for span in by_id.values():
        if span.parent_id in by_id and span.parent_id != span.span_id:
            children.setdefault(span.parent_id, []).append(span)
        else:
            roots.append(span)
    rows: list[Row] = []
    placed: set[str] = set()
    # Spans that are each other's ancestors hang from no root; the earliest of each ring is taken for one.
    for root in [*_in_order(roots), *_in_order(list(by_id.values()))]:
        if root.span_id not in placed:
            orphan = root.parent_id not in ("", "0" * 16)
            _place(Row(span=root, depth=0, orphan=orphan), children, rows, placed, correct_clocks)
    return rows


def _place(
    top: Row, children: Mapping[str, Sequence[Span]], rows: list[Row], placed: set[str], correct_clocks: bool
) -> None:
    # A stack of our own: a chain of thousands of spans is deeper than Python's.
    stack = [top]
    while stack:
        row = stack.pop()
        if row.span.span_id in placed:
            continue
        placed.add(row.span.span_id)
        rows.append(row)
        for child in reversed(_in_order(children.get(row.span.span_id, ()))):
            shift_ns = _shift_ns(row, child) if correct_clocks else 0
            stack.append(Row(span=child, depth=row.depth + 1, shift_ns=shift_ns))


def _shift_ns(parent: Row, child: Span) -> int:
    if child.machine == parent.span.machine:
        # The same clock: what holds for the parent holds for the child.
        return parent.shift_ns
    if child.start_ns >= parent.start_ns:
        return 0
    spare_ns = parent.span.duration_ns - child.duration_ns
    return parent.start_ns + max(0, spare_ns // 2) - child.start_ns


def _in_order(spans: Sequence[Span]) -> list[Span]:
    return sorted(spans, key=lambda span: (span.start_ns, -span.duration_ns, span.span_id))


def most_telling(
    rows: Sequence[Row], calls: frozenset[str], *, rows_max: int = ROWS_MAX, wanted: str = ""
) -> list[Row]:
    """The rows to draw if there are too many: the wanted one, roots, failures, model calls, then the longest; each
    with its ancestors, so that the tree stays one."""
    if len(rows) <= rows_max:
        return list(rows)
    by_id = {row.span.span_id: row for row in rows}
    kept: set[str] = set()

    def rank(row: Row) -> tuple[bool, bool, bool, bool, int]:
        span = row.span
        return (
            span.span_id != wanted,
            row.depth > 0,
            not span.failed,
            span.span_id not in calls,
            -span.duration_ns,
        )

    for row in sorted(rows, key=rank):
        line = _missing_ancestors(row, by_id, kept)
        if len(kept) + len(line) <= rows_max:
            kept |= line
    return [row for row in rows if row.span.span_id in kept]


def _missing_ancestors(row: Row, by_id: Mapping[str, Row], kept: set[str]) -> set[str]:
    line: set[str] = set()
    current: Row | None = row
    while current is not None and current.span.span_id not in kept and current.span.span_id not in line:
        line.add(current.span.span_id)
        current = by_id.get(current.span.parent_id) if current.depth > 0 else None
    return line


def notes(rows: Sequence[Row]) -> list[str]:
    """What is odd about a trace, in sentences."""
    found = []
    roots = [row for row in rows if row.depth == 0 and not row.orphan]
    orphans = sum(row.orphan for row in rows)
    if orphans:
        found.append(
            f"{orphans} span{'s' if orphans > 1 else ''} name{'' if orphans > 1 else 's'} a parent that is not here:"
            " it was not sent, was sampled away, or is still running."
        )
    if len(roots) > 1:
        found.append(f"The trace has {len(roots)} first spans.")
    moved: dict[str, int] = {}
    for row in rows:
        if row.shift_ns and abs(row.shift_ns) > abs(moved.get(row.span.service, 0)):
            moved[row.span.service] = row.shift_ns
    for service, shift_ns in moved.items():
        found.append(
            f"The clock of {service or 'one service'} differs from its caller's: its bars are moved by up to"
            f" {shift_ns / 1e6:+,.1f} ms, so that no child begins before its parent."
        )
    return found
