"""Worked cases of whole reports, and what must hold for any rows."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.stats.bias import (
    BiasReport,
    Family,
    GroupValue,
    Options,
    Sums,
    assess,
    confusion_measures,
    families,
    families_of_rows,
    names,
    outcome,
)
from monitor.stats.intervals import wilson


def value(report: BiasReport, metric: str, group: str, by: str = "group") -> GroupValue:
    return next(v for v in report.values if (v.metric, v.group, v.by) == (metric, group, by))


def test_two_groups_by_hand() -> None:
    """Label x prediction: a 40 true negatives, 10 false positives, 5 misses, 45 hits; b 30, 20, 25, 25."""
    table = [[[40, 10], [5, 45]], [[30, 20], [25, 25]]]
    family = Family(by="group", groups=("a", "b"), measures=tuple(confusion_measures(table)))
    report = assess([family])
    wanted = {
        "accuracy": (85 / 100, 55 / 100), "selection_rate": (55 / 100, 45 / 100), "true_positive_rate": (45 / 50, 25 / 50),
        "false_positive_rate": (10 / 50, 20 / 50), "precision": (45 / 55, 25 / 45),
    }  # fmt: skip
    for metric, (a, b) in wanted.items():
        assert (value(report, metric, "a").value, value(report, metric, "b").value) == pytest.approx((a, b))
        assert value(report, metric, "a").difference == pytest.approx(a - b)
    low, high = wilson(45, 50)
    found = value(report, "true_positive_rate", "a")
    assert (found.low, found.high, found.n, found.sufficient) == pytest.approx((low, high, 50, True))
    gaps = {(gap.metric, gap.gap): gap for gap in report.gaps}
    assert gaps["demographic_parity", "difference"].value == pytest.approx(0.1)
    assert gaps["demographic_parity", "ratio"].value == pytest.approx(45 / 55)
    assert gaps["equal_opportunity", "difference"].value == pytest.approx(0.4)
    odds = gaps["equalized_odds", "difference"]
    assert (odds.of, odds.worst, odds.best) == ("true_positive_rate", "b", "a")
    assert odds.value == pytest.approx(0.4)
    # The worse of the two ratios: 0.5 / 0.9 of hits against 0.2 / 0.4 of false alarms.
    assert gaps["equalized_odds", "ratio"].value == pytest.approx(0.5)
    # Fewer false alarms are better, so b is worst off there, too.
    assert (gaps["false_positive_rate", "difference"].worst, gaps["false_positive_rate", "difference"].best) == (
        "b",
        "a",
    )
    assert gaps["equal_opportunity", "difference"].verdict == "alert"
    assert gaps["demographic_parity", "difference"].verdict == "unclear"
    assert value(report, "accuracy", "b").direction == "`b` is answered rightly less often than the rest"


def test_means_by_hand() -> None:
    """Seconds 1, 2, 3 and 5, 7, 9: means 2 and 7, standard errors 1/√3 and 2/√3."""
    sums = Sums.of_moments([3, 3], [6, 21], [14, 155])
    report = assess(
        [Family(by="group", groups=("a", "b"), measures=(outcome("latency", "mean", sums),))], Options(min_n=3)
    )
    assert value(report, "latency", "b").value == pytest.approx(7.0)
    found = value(report, "latency", "a")
    assert found.low == pytest.approx(2 - 4.302653 / math.sqrt(3), rel=1e-6)  # t of 2 degrees of freedom
    gap = next(gap for gap in report.gaps if gap.gap == "difference")
    # Satterthwaite: (1/3 + 4/3)² / ((1/9 + 16/9) / 2) = 2.941 degrees of freedom.
    assert (gap.value, gap.worst) == (pytest.approx(5.0), "b")
    assert gap.low == pytest.approx(5 - 3.2193 * math.sqrt(5 / 3), abs=2e-3)
    ratio = next(gap for gap in report.gaps if gap.gap == "ratio")
    assert ratio.value == pytest.approx(2 / 7)


def test_negative_means_have_no_ratio() -> None:
    sums = Sums.of_moments([40, 40], [-40, 40], [80, 80])
    report = assess([Family(by="g", groups=("a", "b"), measures=(outcome("score", "mean", sums),))])
    ratio = next(gap for gap in report.gaps if gap.gap == "ratio")
    assert (ratio.value, ratio.verdict) == (None, "insufficient")
    assert "no ratio" in ratio.reason


def test_each_column_and_both_together() -> None:
    columns = {"language": names(["de", "de", "en", "en"]), "tier": names(["free", "paid", "free", None])}
    hits, n = np.array([30, 10, 10, 10]), np.full(4, 100)
    found = families(columns, [outcome("refusal", "share", Sums.of_shares(hits, n))])
    assert [family.by for family in found] == ["language", "tier", "language,tier"]
    report = assess(found)
    assert value(report, "refusal", "de", "language").value == pytest.approx(0.2)
    assert value(report, "refusal", "free", "tier").value == pytest.approx(0.2)
    assert value(report, "refusal", "unknown", "tier").value == pytest.approx(0.1)
    assert value(report, "refusal", "de & free", "language,tier").value == pytest.approx(0.3)
    worst = next(gap for gap in report.gaps if gap.by == "language,tier" and gap.gap == "worst_group")
    assert (worst.worst, worst.verdict) == ("de & free", "alert")


def test_small_groups_are_shown_and_not_judged() -> None:
    sums = Sums.of_shares([50, 40, 5], [100, 100, 5])
    report = assess([Family(by="g", groups=("a", "b", "tiny"), measures=(outcome("refusal", "share", sums),))])
    tiny = value(report, "refusal", "tiny", "g")
    assert (tiny.value, tiny.n, tiny.sufficient, tiny.q_value, tiny.direction) == (1.0, 5, False, None, "")
    assert tiny.note == "insufficient: 5 rows, 30 wanted"
    assert tiny.low == pytest.approx(wilson(5, 5).low)
    assert tiny.shrunk is not None
    assert tiny.shrunk < 1
    gap = report.gaps[0]
    assert (gap.value, gap.groups, {gap.worst, gap.best}) == (pytest.approx(0.1), 2, {"a", "b"})


def test_weights_that_differ_cost_rows() -> None:
    """A row of weight 100 among 99 of weight 1 is half of all: worth 4 rows, not 100."""
    w = np.concatenate([np.ones(99), [99.0]])
    found = families_of_rows({"g": ["a"] * 100}, outcomes={"x": ("share", np.zeros(100))}, weights=w)
    [only] = assess(found).values
    assert (only.n, only.sufficient) == (100, False)
    assert only.note == "insufficient: 100 rows that are worth 4.0, 30 wanted"


def test_counted_rows_are_as_many_rows() -> None:
    """Rows told once with their number, or again and again: the same, with weights too."""
    g = np.random.default_rng(6)
    group, label, said, x = g.choice(["a", "b"], 40), g.integers(0, 2, 40), g.integers(0, 2, 40), g.normal(5, 1, 40)
    counts, w = g.integers(0, 9, 40), g.choice([1.0, 3.0], 40)

    def report(times: np.ndarray, counts: np.ndarray | None) -> BiasReport:
        again = np.repeat(np.arange(40), times)
        found = families_of_rows(
            {"g": group[again]}, label=label[again], prediction=said[again], outcomes={"x": ("mean", x[again])},
            weights=w[again], counts=counts,
        )  # fmt: skip
        return assess(found)

    alike(report(np.ones(40, dtype=int), counts), report(counts, None))


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Options(tolerance=-1),
        lambda: Options(min_n=0),
        lambda: Options(ratio_tolerance=2),
        lambda: Sums.of_shares([3], [2]),
        lambda: confusion_measures([[1, 2], [3, 4]]),
        lambda: families_of_rows({"g": ["a"]}, label=[1]),
        lambda: families_of_rows({"g": ["a"]}, label=[1], prediction=[2]),
        lambda: families_of_rows({"g": ["a", "b"]}, prediction=[1]),
        lambda: families_of_rows({"g": ["a"]}, prediction=[1], weights=[0]),
        lambda: families_of_rows({"g": ["a"]}, outcomes={"x": ("share", [0.5])}),
        lambda: families_of_rows({}),
        lambda: Family(by="g", groups=("a", "a"), measures=()),
        lambda: Family(by="g", groups=("a",), measures=(outcome("x", "share", Sums.of_shares([1], [2])),) * 2),
        lambda: Family(by="g", groups=("a", "b"), measures=(outcome("x", "share", Sums.of_shares([1], [2])),)),
    ],
)
def test_what_cannot_be_is_refused(wrong: object) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        wrong()  # type: ignore[operator]


ROWS = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", "c", None, float("nan"), ""]),
        st.sampled_from([0.0, 1.0, math.nan]),
        st.sampled_from([0.0, 1.0, math.nan]),
        st.floats(-5, 5) | st.just(math.nan),
        st.sampled_from([1.0, 2.0, 10.0]),
    ),
    min_size=1,
    max_size=60,
)
SMALL = Options(min_n=2)


def report_of(rows: list[tuple[object, float, float, float, float]], weigh: float = 1.0) -> BiasReport:
    group, label, said, x, w = zip(*rows, strict=True)
    found = families_of_rows(
        {"group": list(group)},
        label=np.array(label),
        prediction=np.array(said),
        outcomes={"score": ("mean", np.array(x))},
        weights=weigh * np.array(w),
    )
    return assess(found, SMALL)


def alike(one: BiasReport, other: BiasReport) -> None:
    for a, b in zip((*one.values, *one.gaps), (*other.values, *other.gaps), strict=True):
        for key, wanted in vars(a).items():
            found = getattr(b, key)
            if isinstance(wanted, float):
                assert found == pytest.approx(wanted, rel=1e-6, abs=1e-6), key
            elif key not in ("reason", "worst", "best", "of"):  # ties may be told either way
                assert found == wanted, key


@settings(max_examples=60)
@given(rows=ROWS, seed=st.integers(0, 10))
def test_any_rows(rows: list[tuple[object, float, float, float, float]], seed: int) -> None:
    report = report_of(rows)
    for each in report.values:
        assert each.group in ("a", "b", "c", "unknown")
        if each.n == 0:
            assert (each.value, each.low, each.high, each.sufficient, each.shrunk) == (None, None, None, False, None)
        else:
            assert each.value is not None
            assert each.low is None or each.low <= each.value + 1e-9
            assert each.high is None or each.value <= each.high + 1e-9
        if each.metric != "score" and each.value is not None:
            assert 0 <= each.value <= 1
        assert (each.q_value is None) == (each.p_value is None)
        assert each.q_value is None or each.q_value >= each.p_value - 1e-12  # type: ignore[operator]
    for gap in report.gaps:
        assert gap.groups >= 2 or gap.verdict == "insufficient"
        assert gap.corrected is None or 0 <= gap.corrected <= (gap.value or 0) + 1e-12
        if gap.value is not None and gap.gap != "worst_group":
            assert gap.low is None or gap.low <= gap.value + 1e-9
            assert gap.high is None or gap.value <= gap.high + 1e-9
    order = np.random.default_rng(seed).permutation(len(rows))
    alike(report, report_of([rows[i] for i in order]))
    alike(report, report_of(rows, weigh=4.0))  # weights are relative


@settings(max_examples=30)
@given(rows=ROWS)
def test_other_names_change_no_number(rows: list[tuple[object, float, float, float, float]]) -> None:
    there = [row for row in rows if row[0] in ("a", "b", "c")]
    if not there:
        return
    turned = [({"a": "z", "b": "y", "c": "x"}[str(row[0])], *row[1:]) for row in there]
    before, after = report_of(there), report_of(turned)
    back = {"z": "a", "y": "b", "x": "c"}
    renamed = sorted(
        (replace(v, group=back[v.group], direction="") for v in after.values), key=lambda v: (v.metric, v.group)
    )
    original = sorted((replace(v, direction="") for v in before.values), key=lambda v: (v.metric, v.group))
    plain = [replace(gap, reason="", worst="", best="") for gap in before.gaps]
    alike(BiasReport(values=tuple(original), gaps=tuple(plain)), BiasReport(values=tuple(renamed), gaps=after.gaps))


def test_one_group_and_no_rows() -> None:
    one = report_of([("a", 1.0, 1.0, 0.5, 1.0)] * 5)
    assert {gap.verdict for gap in one.gaps} == {"insufficient"}
    assert all(v.difference is None and v.p_value is None for v in one.values)
    empty = assess([Family(by="g", groups=(), measures=(outcome("x", "share", Sums.of_shares([], [])),))])
    assert empty.values == ()
    assert {gap.verdict for gap in empty.gaps} == {"insufficient"}


def test_names_of_groups() -> None:
    assert list(names([1, 2.0, None])) == ["1", "2", "unknown"]
    assert list(names(["a", "", float("nan"), " b "])) == ["a", "unknown", "unknown", "b"]
    assert list(names([True, False])) == ["True", "False"]
