"""Looking every hour: false alarms on stable replays, and how long a stated shift takes to be seen."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import integrate

from monitor.stats.drift import Watch, calibrated, e_values_bh, homogeneity

LOOKS = 720
ALPHA = 0.05


def e_paths(reference: np.ndarray, looks: np.ndarray) -> np.ndarray:
    """Worth of many games at once, shape (runs, looks), by a second program: the sum over all starts, one by one."""
    watch = Watch(alpha=ALPHA)
    runs, total, _ = looks.shape
    pool, capital, worth = reference.astype(float).copy(), np.zeros(runs), np.zeros((runs, total))
    for t in range(total):
        found = homogeneity(pool, looks[:, t])
        put = watch.unspent(t) - watch.unspent(t + 1)
        capital = np.minimum((capital + put) * np.where(found.df > 0, calibrated(found.p_value), 1.0), 1e200)
        worth[:, t] = capital + watch.unspent(t + 1)
        pool = pool + looks[:, t]
    return worth


def stable(runs: int, rows: int, *, k: int = 10, reference: int = 5000, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    shares = rng.dirichlet(np.full(k, 3.0))
    return rng.multinomial(reference, shares, runs), rng.multinomial(rows, shares, (runs, LOOKS))


@pytest.mark.parametrize("rows", [40, 300])
def test_any_false_alarm_in_a_month_of_hours(rows: int) -> None:
    runs = 400
    worth = e_paths(*stable(runs, rows))
    false = float((worth.max(axis=1) >= 1 / ALPHA).mean())
    print(
        f"\n{rows} rows an hour: any false alarm over {LOOKS} looks in {false:.1%} of {runs} replays (nominal {ALPHA:.0%})"
    )
    assert false <= ALPHA
    # One test a look, as a job without memory does it, would have cried wolf in all of them.
    naive = homogeneity(*stable(50, rows, seed=2)[0:1], stable(50, rows, seed=2)[1][:, :20].swapaxes(0, 1))
    assert float((naive.p_value <= ALPHA).any(axis=0).mean()) > 0.3


def test_many_features_together() -> None:
    """Four features, two of which are one and the same: the rate of any false alarm of any of them."""
    runs = 150
    worth = np.stack([e_paths(*stable(runs, 100, seed=seed, k=6)) for seed in (1, 1, 2, 3)], axis=-1)
    alarms = np.array([any(e_values_bh(at, alpha=ALPHA).any() for at in run) for run in worth[:, ::6]])
    print(f"\nfour features: any false alarm in {alarms.mean():.1%} of {runs} replays (nominal {ALPHA:.0%})")
    assert alarms.mean() <= ALPHA


@pytest.mark.parametrize(("shift", "at_most"), [(0.3, 60), (0.5, 15), (1.0, 3)])
def test_delay_of_stated_shifts(shift: float, at_most: int) -> None:
    runs, rows, begin, k = 200, 200, 360, 10
    rng = np.random.default_rng(4)
    p = np.ones(k) / k
    q = p * np.exp(shift * np.linspace(-1, 1, k))
    q /= q.sum()
    looks = np.concatenate([rng.multinomial(rows, p, (runs, begin)), rng.multinomial(rows, q, (runs, 240))], axis=1)
    worth = e_paths(rng.multinomial(5000, p, runs), looks)
    alarmed = worth >= 1 / ALPHA
    early = alarmed[:, :begin].any(axis=1)
    delay = np.where(alarmed[:, begin:].any(axis=1), alarmed[:, begin:].argmax(axis=1) + 1, np.inf)[~early]
    psi = float(((q - p) * np.log(q / p)).sum())
    print(
        f"\nPSI {psi:.3f}, 200 rows an hour: seen after {np.median(delay):.0f} hours (median), {np.quantile(delay, 0.9):.0f} (9 of 10)"
    )
    assert early.mean() <= ALPHA
    assert np.median(delay) <= at_most


def test_watch_is_the_same_game() -> None:
    reference, looks = stable(1, 60)
    watch = Watch(alpha=ALPHA)
    state = watch.start(reference[0])
    for t, worth in enumerate(e_paths(reference, looks)[0]):
        state = watch.look(state, looks[0, t])
        assert state.e_value == pytest.approx(worth)
    assert state.looks == LOOKS
    assert not watch.alarmed(state)
    assert 0 < state.p_value <= 1
    moved = watch.look(state, np.roll(looks[0, 0], 3) * 40)
    assert watch.alarmed(moved)
    assert moved.p_value < ALPHA
    # An alarm stays told.
    assert watch.alarmed(watch.look(moved, looks[0, 1]))


def test_silence_and_tiny_looks_cost_nothing() -> None:
    watch = Watch()
    state = watch.start([500, 500])
    for counts in ([0, 0], [1, 0], [0, 2]):
        state = watch.look(state, counts)
    assert state.e_value == pytest.approx(1.0)
    assert state.pool == (501, 502)
    with pytest.raises(ValueError, match="2 bins"):
        watch.look(state, [1, 2, 3])


def test_the_bet_is_fair() -> None:
    value, _ = integrate.quad(lambda x: float(calibrated(np.array(math.exp(-x)))) * math.exp(-x), 0, 600, limit=500)
    # ∫ f(p) dp = 1; what is missing is the mean over p below e^-600, 1/600.
    assert value + 1 / 600 == pytest.approx(1.0, abs=1e-4)
    p = np.array([1e-12, 1e-3, 0.05, 0.5, 0.99989, 0.99991, 1.0])
    assert (np.diff(calibrated(p)) < 0).all()
    assert calibrated(np.array(1.0)) == pytest.approx(0.5)
    watch = Watch()
    assert [watch.unspent(t) for t in (0, 720, 1440)] == pytest.approx([1.0, 0.5, 0.25])


def test_e_values_bh_by_hand() -> None:
    assert e_values_bh([100, 1, 50, 0.2], alpha=0.05).tolist() == [True, False, True, False]
    assert e_values_bh([79, 1, 1, 1], alpha=0.05).tolist() == [False] * 4
    assert e_values_bh([80, 1, 1, 1], alpha=0.05).tolist() == [True, False, False, False]


def test_seasons_have_pools_of_their_own() -> None:
    """Each hour of the day has its own distribution; looks are held against their like, and one game goes over all."""
    runs, slots = 200, 24
    rng = np.random.default_rng(9)
    shares = rng.dirichlet(np.full(8, 2.0), slots)
    watch = Watch(alpha=ALPHA)
    pools = np.zeros((slots, runs, 8))
    capital, highest = np.zeros(runs), np.ones(runs)
    for t in range(LOOKS):
        counts = rng.multinomial(120, shares[t % slots], runs)
        found = homogeneity(pools[t % slots], counts)
        put = watch.unspent(t) - watch.unspent(t + 1)
        capital = (capital + put) * np.where((found.df > 0) & (t >= slots), calibrated(found.p_value), 1.0)
        highest = np.maximum(highest, capital + watch.unspent(t + 1))
        pools[t % slots] += counts
    false = float((highest >= 1 / ALPHA).mean())
    print(f"\nseasonal, {LOOKS} looks: any false alarm in {false:.1%} of {runs} replays (nominal {ALPHA:.0%})")
    assert false <= ALPHA


def test_a_bet_by_its_p_value_is_that_of_the_counts() -> None:
    reference, looks = stable(1, 60)
    watch = Watch(alpha=ALPHA)
    by_counts, by_p, pool = watch.start(reference[0]), watch.start(()), reference[0].astype(float)
    for counts in looks[0, :50]:
        by_counts = watch.look(by_counts, counts)
        by_p = watch.bet(by_p, float(homogeneity(pool, counts).p_value))
        pool = pool + counts
    assert by_p.e_value == pytest.approx(by_counts.e_value)
    assert watch.bet(by_p, None).e_value == pytest.approx(by_p.e_value)
