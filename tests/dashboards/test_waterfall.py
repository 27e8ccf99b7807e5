"""The tree of a trace: whole, torn, in rings, out of step, and too large."""

from __future__ import annotations

import random

from dashboards.waterfall import Span, lay_out, most_telling, notes

MS = 1_000_000


def span(
    span_id: str,
    parent_id: str = "",
    start_ms: float = 0,
    long_ms: float = 10,
    *,
    service: str = "a",
    failed: bool = False,
) -> Span:
    return Span(
        span_id=span_id,
        parent_id=parent_id,
        name=span_id,
        kind="Internal",
        service=service,
        start_ns=round(start_ms * MS),
        duration_ns=round(long_ms * MS),
        failed=failed,
    )


def drawn(spans: list[Span], *, correct_clocks: bool = True) -> list[tuple[str, int]]:
    return [(row.span.span_id, row.depth) for row in lay_out(spans, correct_clocks=correct_clocks)]


def test_children_stand_below_their_parents_in_the_order_of_their_starts() -> None:
    spans = [span("c", "b", 3), span("root", "", 0), span("d", "root", 9), span("b", "root", 2)]
    assert drawn(spans) == [("root", 0), ("b", 1), ("c", 2), ("d", 1)]
    random.Random(1).shuffle(spans)
    assert drawn(spans) == [("root", 0), ("b", 1), ("c", 2), ("d", 1)]


def test_a_span_whose_parent_is_missing_is_a_root_and_marked() -> None:
    rows = lay_out([span("root"), span("lost", "nobody", 5), span("child", "lost", 6)])
    assert [(row.span.span_id, row.depth, row.orphan) for row in rows] == [
        ("root", 0, False),
        ("lost", 0, True),
        ("child", 1, False),
    ]
    assert "1 span names a parent that is not here" in notes(rows)[0]


def test_rings_and_spans_that_are_their_own_parent_are_drawn_once() -> None:
    rows = drawn([span("x", "y", 1), span("y", "x", 2), span("self", "self", 3)])
    assert rows == [("self", 0), ("x", 0), ("y", 1)]


def test_a_span_that_came_twice_is_drawn_once() -> None:
    assert drawn([span("root"), span("root"), span("b", "root")]) == [("root", 0), ("b", 1)]


def test_a_chain_deeper_than_pythons_stack() -> None:
    chain = [span(str(index), str(index - 1) if index else "", index) for index in range(5000)]
    rows = drawn(chain)
    assert rows[-1] == ("4999", 4999)
    assert len(rows) == 5000


def test_a_child_on_another_machine_is_moved_into_its_parent() -> None:
    spans = [
        span("client", "", 100, 50),
        span("engine", "client", 60, 30, service="b"),
        span("step", "engine", 65, 5, service="b"),
    ]
    rows = {row.span.span_id: row for row in lay_out(spans)}
    assert rows["engine"].start_ns == 110 * MS, "in the middle: 10 ms on the way there, 10 ms on the way back"
    assert rows["step"].start_ns == 115 * MS, "what hangs below moves along"
    assert rows["client"].shift_ns == 0
    assert "The clock of b differs" in notes(list(rows.values()))[0]
    assert all(row.shift_ns == 0 for row in lay_out(spans, correct_clocks=False))


def test_a_child_that_is_longer_than_its_parent_is_moved_to_its_start() -> None:
    rows = lay_out([span("client", "", 100, 10), span("engine", "client", 60, 30, service="b")])
    assert rows[1].start_ns == 100 * MS


def test_clocks_that_agree_and_clocks_of_one_machine_are_left_alone() -> None:
    spans = [span("root", "", 100, 50), span("late", "root", 140, 90, service="b"), span("early", "root", 90, 5)]
    rows = lay_out(spans)
    assert [row.shift_ns for row in rows] == [0, 0, 0], "a child may end after its parent; one clock is never wrong"
    assert notes(rows) == []


def test_of_too_many_spans_the_telling_ones_are_kept_with_their_ancestors() -> None:
    spans = [span("root", "", 0, 10_000)]
    spans += [span(f"mid{index}", "root", index, 1) for index in range(500)]
    spans += [
        span("deep", "mid400", 401, 0.1, failed=True),
        span("call", "mid300", 301, 0.1),
        span("long", "mid7", 8, 900),
    ]
    rows = lay_out(spans)
    kept = [row.span.span_id for row in most_telling(rows, frozenset({"call"}), rows_max=8, wanted="mid499")]
    assert len(kept) == 8
    assert {"root", "mid400", "deep", "mid300", "call", "mid499"} <= set(kept)
    assert kept == [row.span.span_id for row in rows if row.span.span_id in set(kept)], "in their order"
    assert most_telling(rows[:5], frozenset(), rows_max=8) == rows[:5]
