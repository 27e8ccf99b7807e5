"""Budgets for people: which are used up, and which will not last."""

from __future__ import annotations

from datetime import datetime

from dashboards import data, facts
from dashboards.answers import ATTENTION, BAD, Finding
from dashboards.tables import records
from dashboards.wording import escaped, value_text


def findings(month: datetime) -> list[Finding]:
    """Budgets of the month of this moment that are overdrawn, or are forecast to be."""
    found = []
    for budget in records(facts.budgets(month)):
        unit = str(budget.currency) or data.currency()
        name, amount = escaped(str(budget.name)), value_text(budget.amount, unit)
        # Comparisons with an unknown forecast (NaN) are false.
        if budget.spent > budget.amount:
            words = f"Budget {name} is used up: {value_text(budget.spent, unit)} of {amount}."
            found.append(Finding(level=BAD, words=words))
        elif budget.low > budget.amount:
            words = f"Budget {name} of {amount} will not last: {value_text(budget.forecast, unit)} expected."
            found.append(Finding(level=BAD, words=words))
        elif budget.forecast > budget.amount:
            words = f"Budget {name} of {amount} may not last: {value_text(budget.forecast, unit)} expected."
            found.append(Finding(level=ATTENTION, words=words))
    return found
