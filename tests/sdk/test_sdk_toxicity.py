"""The trained model of the extra `toxicity`, as it is installed."""

from __future__ import annotations

import warnings

from monitor.sdk import moderate, toxicity_filter
from monitor.sdk.moderation_filters import warm_up


def test_offensive_texts_are_told_from_others() -> None:
    filters = [toxicity_filter(block_from=0.95)]
    # A model of another version of scikit-learn would load with a warning, and predict something else.
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warm_up(filters)
    for text in (
        "Could you summarise this contract for me?",
        "The weather in Oslo is mild today.",
        "Thank you, well done.",
    ):
        verdict = moderate(text, filters=filters, budget_ms=5000)
        assert (verdict.action, verdict.failed, verdict.timed_out) == ("allowed", (), ()), text
    verdict = moderate("you are a stupid piece of shit", stage="output", filters=filters, budget_ms=5000)
    assert (verdict.action, verdict.category, verdict.filter) == ("blocked", "toxicity", "toxicity")
    assert 0.95 <= verdict.score <= 1
    mild = moderate("you are so stupid", filters=toxicity_filter(flag_from=0.5), budget_ms=5000)
    assert (mild.action, mild.category) == ("flagged", "toxicity")
