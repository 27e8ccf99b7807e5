"""The state machine of an instance: the story of its clocks, and what holds whatever is seen."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerts.model import ALARMING, State
from alerts.reading import Seen
from alerts.rules import Timing
from alerts.state import MISSED_MAX, RESOLVED_KEPT_S, Track, step

T0 = datetime(2026, 3, 1, 12, tzinfo=UTC)
EVERY_S = 15.0
B, C, M, F, N, E, W = Seen.BREACH, Seen.CLEAR, Seen.MISSING, Seen.TOO_FEW, Seen.NO_DATA, Seen.ERROR, Seen.BETWEEN
LETTERS = {"i": State.INACTIVE, "p": State.PENDING, "f": State.FIRING, "r": State.RECOVERING, "n": State.NO_DATA, "e": State.ERROR}  # fmt: skip
SEEN = {"B": B, "C": C, "M": M, "F": F, "N": N, "E": E, "W": W}


def at(index: float) -> datetime:
    return T0 + timedelta(seconds=EVERY_S * index)


def play(story: str, timing: Timing) -> list[Track]:
    """What the instance was at each evaluation, 15 s apart; letters say what was seen."""
    track, found = None, []
    for index, letter in enumerate(story):
        track = step(track, SEEN[letter], at(index), timing)
        found.append(track)
    return found


@pytest.mark.parametrize(
    ("seen", "states", "for_s", "keep_s", "quiet_s"),
    [
        pytest.param("CBBC", "iffi", 0, 0, 0, id="at once and over at once"),
        pytest.param("BBBB", "ppff", 30, 0, 0, id="pending at 0 s and 15 s, firing at 30 s"),
        pytest.param("BBCBBB", "ppippf", 30, 0, 0, id="one look without a breach starts the clock anew"),
        pytest.param("BBWBBB", "ppippf", 30, 0, 0, id="between the thresholds nothing is pending"),
        pytest.param("BCCBCCC", "frrfrri", 0, 30, 0, id="firing goes on while recovering"),
        pytest.param("BWWC", "fffi", 0, 0, 0, id="between the thresholds an alert goes on"),
        pytest.param("BCWCCC", "frfrri", 0, 30, 0, id="between the thresholds the way out begins anew"),
        pytest.param("BMBMM", "ffffi", 0, 0, 0, id="a group that is missing once goes on, twice ends"),
        pytest.param("BMMM", "ffri", 0, 15, 0, id="a vanished group recovers first"),
        pytest.param("BMFM", "ffff", 0, 0, 60, id="a group that was seen with few calls was not missing"),
        pytest.param("BFFFFB", "ffffff", 0, 0, 75, id="too few calls leave an alert as it is"),
        pytest.param("BFFFFFF", "fffffii", 0, 0, 60, id="too few calls for a whole window end it"),
        pytest.param("BMMB", "piip", 30, 0, 0, id="a vanished group is pending no more"),
        pytest.param("NNNC", "ppni", 30, 0, 0, id="no data waits as well, and ends with the first data"),
        pytest.param("NNNW", "ppni", 30, 0, 0, id="no data ends between the thresholds too"),
        pytest.param("EEEB", "ppef", 30, 0, 0, id="an error waits, and turns into what was there meanwhile"),
        pytest.param("CCFM", "iiii", 0, 0, 0, id="nothing"),
    ],
)
def test_the_story_of_an_instance(seen: str, states: str, for_s: float, keep_s: float, quiet_s: float) -> None:
    timing = Timing(for_s=for_s, keep_firing_for_s=keep_s, quiet_s=quiet_s)
    assert [track.state for track in play(seen, timing)] == [LETTERS[letter] for letter in states]


def test_times_of_an_episode() -> None:
    tracks = play("CBBBCCC", Timing(for_s=30, keep_firing_for_s=15))
    assert (tracks[3].state, tracks[3].active_at, tracks[3].fired_at) == (State.FIRING, at(1), at(3))
    assert (tracks[4].state, tracks[4].recovering_at, tracks[4].resolved_at) == (State.RECOVERING, at(4), None)
    assert (tracks[5].state, tracks[5].fired_at, tracks[5].resolved_at) == (State.INACTIVE, at(3), at(5))
    assert tracks[6] == tracks[5]


def test_a_resolved_instance_is_kept_for_a_quarter_of_an_hour() -> None:
    end = play("BC", Timing())[-1]
    assert not end.over(at(1) + timedelta(seconds=RESOLVED_KEPT_S - 1))
    assert end.over(at(1) + timedelta(seconds=RESOLVED_KEPT_S))
    assert play("BBC", Timing(for_s=60))[-1].over(at(2)), "what never fired leaves nothing"


def test_pending_anew_the_word_of_the_end_is_kept() -> None:
    again = play("BBBCB", Timing(for_s=30))[-1]
    assert (again.state, again.resolved_at, again.active_at) == (State.PENDING, at(3), at(4))


def test_raising_for_makes_a_firing_alert_pending() -> None:
    firing = play("BBB", Timing(for_s=30))[-1]
    assert firing.state is State.FIRING
    raised = step(firing, B, at(3), Timing(for_s=60))
    assert (raised.state, raised.active_at, raised.resolved_at, raised.reason) == (
        State.PENDING,
        T0,
        at(3),
        "for_raised",
    )
    again = step(raised, B, at(4), Timing(for_s=60))
    assert (again.state, again.fired_at, again.resolved_at, again.reason) == (State.FIRING, at(4), None, "")


def test_lowering_for_fires_at_once() -> None:
    assert step(play("BB", Timing(for_s=600))[-1], B, at(2), Timing(for_s=30)).state is State.FIRING


STORIES = st.lists(st.sampled_from(list(Seen)), min_size=1, max_size=60)
TIMINGS = st.builds(
    Timing,
    for_s=st.sampled_from([0.0, 15.0, 40.0, 120.0]),
    keep_firing_for_s=st.sampled_from([0.0, 15.0, 50.0]),
    quiet_s=st.sampled_from([0.0, 60.0]),
)
STEPS = st.lists(st.floats(0.0, 100.0), min_size=60, max_size=60)


@given(story=STORIES, timing=TIMINGS, steps=STEPS)
def test_what_holds_whatever_is_seen(story: list[Seen], timing: Timing, steps: list[float]) -> None:
    track: Track | None = None
    now = T0
    asked = {Seen.BREACH, Seen.NO_DATA, Seen.ERROR}
    held_since: datetime | None = None
    for seen, step_s in zip(story, steps, strict=False):
        now += timedelta(seconds=step_s)
        old, track = track, step(track, seen, now, timing)
        assert step(old, seen, now, timing) == track, "the same is the same again"
        assert (track.state in (State.PENDING, *ALARMING)) <= (track.active_at is not None)
        assert all(
            one is None or one <= now for one in (track.since, track.active_at, track.fired_at, track.resolved_at)
        )
        if track.alarming:
            assert track.fired_at is not None
            assert track.active_at is not None
            assert track.fired_at - track.active_at >= timedelta(seconds=timing.for_s)
            assert track.resolved_at is None
        if old is not None and old.alarming and not track.alarming:
            assert track.resolved_at == now, "every alert that ends says when"
            assert seen not in asked
        if (old is None or not old.alarming) and track.alarming:
            assert seen in asked, "nothing fires without cause"
        held_since = (held_since or now) if seen in asked else None
        if held_since is not None and now - held_since >= timedelta(seconds=timing.for_s):
            assert track.alarming, "what holds for so long is told"
        if track.state is State.RECOVERING:
            assert timing.keep_firing_for_s > 0


@given(story=STORIES, timing=TIMINGS)
def test_what_is_over_for_long_ends(story: list[Seen], timing: Timing) -> None:
    track: Track | None = None
    for index, seen in enumerate(story):
        track = step(track, seen, at(index), timing)
    for more in range(MISSED_MAX + 5):
        track = step(track, Seen.CLEAR, at(len(story) + more), timing)
    assert track is not None
    assert track.state is State.INACTIVE
