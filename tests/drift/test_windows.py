"""Windows of the store against the same computed from the rows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.spatial import distance

from monitor.drift import compare_windows, parse_window
from monitor.errors import BadInput
from monitor.kpis import Window
from monitor.stats.drift import Drift, Options
from monitor.store import Client
from tests.kpis.rows import START, WINDOW, random_calls, store

LATER = Window(WINDOW.end, WINDOW.end + timedelta(hours=1))


def calls(*, seed: int, n: int = 2000, hours: int = 0) -> pd.DataFrame:
    found = random_calls(n, seed=seed)
    found["timestamp"] += timedelta(hours=hours)
    found["trace_id"] = [f"{seed:02x}{i:030x}" for i in range(1, n + 1)]
    rng = np.random.default_rng(seed)
    found["finish_reason"] = rng.choice(["stop", "length", ""], n, p=[0.7, 0.2, 0.1])
    found["cohorts"] = [{"language": str(each)} for each in rng.choice(["de", "en", "fr"], n, p=[0.2, 0.6, 0.2])]
    return found


def by_feature(found: list[Drift]) -> dict[str, Drift]:
    assert len({each.feature for each in found}) == len(found)
    return {each.feature: each for each in found}


def test_counts_of_the_store_are_those_of_the_rows(store_client: Client) -> None:
    before, after = calls(seed=1), calls(seed=2, hours=1)
    after["ttft_s"] *= 1.6
    after.loc[after.index[:300], "finish_reason"] = "content_filter"
    after.loc[after.index[300:1300], "cohorts"] = pd.Series([{"language": "fr"}] * 1000, index=after.index[300:1300])
    store(store_client, before)
    store(store_client, after)
    found = by_feature(compare_windows(store_client, WINDOW, LATER))
    assert {name for name, each in found.items() if each.drifted} == {
        "ttft", "finish_reason", "finish_reason.new", "refusal", "cohort.language",
    }  # fmt: skip
    for name, column in (("finish_reason", "finish_reason"), ("model", "model"), ("error_type", "error_type")):
        if column == "error_type":  # a call without an error is known to have none
            before[column], after[column] = (side[column].replace("", "none") for side in (before, after))
        shares = [side.loc[side[column] != "", column].value_counts(normalize=True) for side in (before, after)]
        both = pd.concat(shares, axis=1).fillna(0)
        assert found[name].value == pytest.approx(
            distance.jensenshannon(both.iloc[:, 0], both.iloc[:, 1], base=2), abs=1e-7
        )
        assert found[name].n_current == (after[column] != "").sum()
    assert found["finish_reason.new"].value == pytest.approx(300 / (after["finish_reason"] != "").sum())
    shares = [(side["finish_reason"] == "").mean() for side in (before, after)]
    assert found["finish_reason.missing"].value == pytest.approx(abs(shares[0] - shares[1]))
    assert found["ttft"].n_reference == before["ttft_s"].notna().sum()
    assert found["ttft.missing"].value == pytest.approx(
        abs(before["ttft_s"].isna().mean() - after["ttft_s"].isna().mean())
    )
    assert "content_filter" not in found["finish_reason"].moved[0]
    assert found["cohort.language"].moved[0].startswith("fr: 0.2")
    assert "region" not in found  # nobody says it


def test_distances_on_fine_bins_are_close_to_those_of_the_values(store_client: Client) -> None:
    before, after = calls(seed=3, n=4000), calls(seed=4, n=4000, hours=1)
    after["ttft_s"] *= 1.5
    store(store_client, before)
    store(store_client, after)
    options = Options(methods=("ks", "wasserstein", "psi", "total_variation", "chi_square"))
    found = {
        each.method: each
        for each in compare_windows(store_client, WINDOW, LATER, columns=["ttft"], options=options)
        if "." not in each.feature
    }
    a, b = (side["ttft_s"].dropna().to_numpy() for side in (before, after))
    exact = stats.ks_2samp(a, b).statistic
    assert exact - 0.02 <= found["ks"].value <= exact + 1e-9
    assert found["wasserstein"].value == pytest.approx(stats.wasserstein_distance(a, b) / a.std(), rel=0.2)
    edges = np.quantile(a, np.arange(1, 10) / 10)
    p, q = (np.bincount(np.searchsorted(edges, x, side="right"), minlength=10) / len(x) for x in (a, b))
    assert found["psi"].value == pytest.approx(((q - p) * np.log(q / p)).sum(), rel=0.05)
    assert all(each.drifted for each in found.values())


def test_quiet_on_the_same_load(store_client: Client) -> None:
    store(store_client, calls(seed=5))
    store(store_client, calls(seed=6, hours=1))
    found = compare_windows(store_client, WINDOW, LATER)
    assert len(found) > 10
    assert not any(each.drifted for each in found)
    same = compare_windows(store_client, WINDOW, WINDOW, options=Options(methods=("psi", "jensen_shannon", "ks")))
    assert {each.value for each in same} == {0.0}


def test_chunks(store_client: Client) -> None:
    before, after = calls(seed=7), calls(seed=8, hours=1)
    late = after["timestamp"] >= LATER.start + timedelta(minutes=30)
    after.loc[late, "output_tokens"] += 150
    gone = after["timestamp"] >= LATER.start + timedelta(minutes=45)
    store(store_client, before)
    store(store_client, after[~gone])
    found = compare_windows(store_client, WINDOW, LATER, columns=["output_tokens"], chunk=timedelta(minutes=15))
    told = [each for each in found if each.feature == "output_tokens"]
    assert [(each.chunk, each.drifted) for each in told] == [(0, False), (1, False), (2, True), (3, False)]
    assert told[3].reason.startswith("too few rows: 1")
    with pytest.raises(BadInput, match="at most 1000"):
        compare_windows(store_client, WINDOW, LATER, chunk=timedelta(seconds=1))


def test_weights_are_worth_their_effective_number(store_client: Client) -> None:
    before, after = calls(seed=9), calls(seed=10, hours=1)
    after["sample_weight"] = np.where(after["model"] == "llama", 10.0, 1.0)
    store(store_client, before)
    store(store_client, after)
    found = by_feature(compare_windows(store_client, WINDOW, LATER, columns=["model"]))["model"]
    w = after["sample_weight"]
    assert found.n_current == round(w.sum() ** 2 / (w**2).sum())
    p = before["model"].value_counts(normalize=True)
    q = w.groupby(after["model"]).sum() / w.sum()
    assert found.value == pytest.approx(distance.jensenshannon(p[["llama", "qwen"]], q[["llama", "qwen"]], base=2))


def test_filter_and_what_does_not_fit(store_client: Client) -> None:
    store(store_client, calls(seed=11))
    store(store_client, calls(seed=12, hours=1))
    found = compare_windows(store_client, WINDOW, LATER, columns=["e2e"], where={"model": "llama"})
    assert found[0].n_reference == (calls(seed=11)["model"] == "llama").sum()
    with pytest.raises(BadInput, match="did you mean `ttft`"):
        compare_windows(store_client, WINDOW, LATER, columns=["ttft_s"])
    empty = Window(START - timedelta(days=9), START - timedelta(days=8))
    with pytest.raises(BadInput, match="no call of the reference window 2026-02-20T12:00:00"):
        compare_windows(store_client, empty, LATER)
    quiet = compare_windows(store_client, WINDOW, empty, columns=["model"])
    assert quiet[0].reason.startswith("too few rows: 2000 reference and 0 current")
    with pytest.raises(BadInput, match="has a feature to compare"):
        compare_windows(store_client, WINDOW, LATER, columns=["cohort.it's"])


def test_texts_and_all_features_together_with_example_traces(store_client: Client) -> None:
    rng = np.random.default_rng(13)
    before, after = calls(seed=13, n=600), calls(seed=14, n=600, hours=1)
    for side in (before, after):
        side["prompt"] = [" ".join(rng.choice([f"w{i}" for i in range(60)], 9)) for _ in range(len(side))]
    about = after.index[::2]
    after.loc[about, "prompt"] += " refund"
    after["output_tokens"] += 100
    store(store_client, before)
    store(store_client, after)
    options = Options(methods=("domain_classifier",))
    found = by_feature(compare_windows(store_client, WINDOW, LATER, options=options))
    assert list(found) == ["(all features)", "prompt"]
    assert all(each.drifted for each in found.values())
    assert found["(all features)"].moved[0].startswith(("+output_tokens", "−output_tokens"))
    assert found["prompt"].moved[0] == "+refund"
    assert set(found["prompt"].current_traces) <= set(after.loc[about, "trace_id"])
    assert set(found["prompt"].reference_traces) <= set(before["trace_id"])
    same = compare_windows(store_client, WINDOW, WINDOW, options=options)
    assert not any(each.drifted for each in same)


NOW = datetime(2026, 11, 8, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "start", "end"),
    [
        ("7d", NOW - timedelta(days=7), NOW),
        ("7d..1d", NOW - timedelta(days=7), NOW - timedelta(days=1)),
        ("1h30m..now", NOW - timedelta(minutes=90), NOW),
        ("2h..", NOW - timedelta(hours=2), NOW),
        ("2026-11-01T00:00Z/2026-11-02T00:00Z", datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 11, 2, tzinfo=UTC)),
    ],
)
def test_windows_as_text(text: str, start: datetime, end: datetime) -> None:
    assert parse_window(text, now=NOW) == Window(start, end)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1d..7d", "begin before it ends"),
        ("yesterday", "is no duration"),
        ("a file", "neither a file nor a window"),
        ("2026-11-01/later", "is no window"),
        ("2026-11-01/2026-11-02/2026-11-03", "is no window"),
        ("2026-11-02T00:00/2026-11-03T00:00", "no time zone"),
        ("2026-11-02T00:00Z/2026-11-01T00:00Z", "must end after"),
    ],
)
def test_windows_that_are_none(text: str, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        parse_window(text, now=NOW)


def test_what_a_drift_brings_is_that_of_the_rows(store_client: Client) -> None:
    """Another mix of models: latency, cost (by the job, or as reported) and accuracy by model, with weights, from the frames."""
    before, after = calls(seed=11), calls(seed=12, hours=1)
    g = np.random.default_rng(3)
    after["model"] = g.choice(["llama", "qwen"], len(after), p=[0.9, 0.1])
    for side in (before, after):
        side["sample_weight"] = g.choice([1.0, 4.0], len(side))
        side["cost_usd"] = np.where(side["model"] == "llama", 0.002, 0.001)
        side.loc[side["model"] == "llama", "duration_s"] *= 2
    store(store_client, before)
    store(store_client, after)
    costed = before[before.index % 3 == 0]
    store_client.insert(
        "call_costs",
        [
            [row.timestamp, row.trace_id, row.span_id, row.sample_weight, round(5e6 * row.sample_weight)]
            for row in costed.itertuples()
        ],
        column_names=["timestamp", "trace_id", "span_id", "sample_weight", "cost"],
    )
    labelled = before[(before.index % 2 == 0) & (before["error_type"] == "")]
    right = np.where(labelled["model"] == "llama", g.random(len(labelled)) < 0.6, g.random(len(labelled)) < 0.9)
    store_client.insert(
        "evaluations",
        [[row.timestamp, row.trace_id, row.span_id, "correct", float(hit), "human"] for row, hit in zip(labelled.itertuples(), right, strict=True)],
        column_names=["timestamp", "trace_id", "span_id", "name", "score", "source"],
    )  # fmt: skip
    (found,) = compare_windows(store_client, WINDOW, LATER, columns=["model"])
    before.loc[costed.index, "cost_usd"] = 0.005
    before.loc[labelled.index, "right"] = right.astype(float)
    whole = before[(before["error_type"] == "") & ~before["cancelled"]]
    shares = [side.groupby("model")["sample_weight"].sum() / side["sample_weight"].sum() for side in (before, after)]
    for name, rows, column in (
        ("latency", whole, "duration_s"), ("cost", before, "cost_usd"), ("accuracy", before.dropna(subset="right"), "right"),
    ):  # fmt: skip
        mean = pd.Series(
            {key: np.average(part[column], weights=part["sample_weight"]) for key, part in rows.groupby("model")}
        )
        assert dict(found.brings)[name] == pytest.approx(((shares[1] - shares[0]) * mean).sum(), rel=1e-6)
    assert found.drifted
    assert found.impact is not None
    assert found.impact > 0.2
    quiet = by_feature(compare_windows(store_client, WINDOW, LATER, columns=["model", "input_tokens"]))
    assert quiet["input_tokens"].brings == ()


def test_scores_are_features(store_client: Client) -> None:
    """The newest of each call, without those of probes."""
    before, after = calls(seed=13, n=400), calls(seed=14, n=400, hours=1)
    store(store_client, before)
    store(store_client, after)
    said = []
    for side, shift in ((before, 0.0), (after, 0.6)):
        for i, row in enumerate(side.itertuples()):
            later = row.timestamp + timedelta(seconds=5)
            said += [
                [row.timestamp, row.trace_id, row.span_id, "tone", 7.0, "judge"],
                [later, row.trace_id, row.span_id, "tone", i % 100 / 100 + shift, "judge"],
                [later + timedelta(seconds=5), row.trace_id, row.span_id, "tone", 9.0, "probe"],
            ]
    store_client.insert(
        "evaluations", said, column_names=["timestamp", "trace_id", "span_id", "name", "score", "source"]
    )
    found = by_feature(compare_windows(store_client, WINDOW, LATER))["score.tone"]
    assert found.drifted
    assert (found.n_reference, found.n_current) == tuple(
        int((side["error_type"] != "x").sum()) for side in (before, after)
    )
    # In tenths of the reference: three of them keep a tenth each, and all else is above the ninth.
    expected = distance.jensenshannon([0.1] * 10, [0.0] * 6 + [0.1] * 3 + [0.7], base=2)
    assert found.value == pytest.approx(expected, abs=0.03)
