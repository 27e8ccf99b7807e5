"""Who comes back, cohort by cohort and day by day: the matrix for a page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from monitor.errors import BadInput
from monitor.kpis.dimensions import Where, check_where, where_sql
from monitor.kpis.sources.question import Question
from monitor.kpis.sources.users import DAY_NS, cohorts_sql
from monitor.kpis.window import Window
from monitor.stats.intervals import wilson
from monitor.store import Client

if TYPE_CHECKING:
    import pandas as pd

DAYS_MAX: Final = 90
_EVERYTHING: Final[Where] = {}


def retention(client: Client, *, window: Window, days: int = 14, where: Where = _EVERYTHING) -> pd.DataFrame:
    """Cohorts by day of first use, and how many of each were back on each day after.

    Parameters
    ----------
    client : Client
    window : Window
        Cohorts of the UTC days that begin in it; what is later than its end is not looked at.
    days : int
        Days after the first to follow, 1 to 90.
    where : mapping
        Filter on calls, as in `evaluate`. Who had any call before, filtered or not, is in no cohort.

    Returns
    -------
    pandas.DataFrame
        One row per cohort with users and day: `cohort` (UTC midnight), `size` (its users), `day` (0 … days), `users` (back
        on that day), `share`, `low`, `high` (Wilson); the last four are NaN where the day was not over at the window's end.

    Raises
    ------
    BadInput
        If days or the filter do not fit.
    """
    import pandas as pd  # heavy, and not needed for values

    if not 1 <= days <= DAYS_MAX:
        raise BadInput(f"cohorts are followed for 1 to {DAYS_MAX} days, not {days}")
    checked = check_where(where)
    _, parameters = where_sql(checked)
    first, over = -(-window.start_ns // DAY_NS), window.end_ns // DAY_NS
    question = Question(start_ns=window.start_ns, end_ns=window.end_ns, where=checked, groups_max=1)
    found = cohorts_sql(client, question, first, max(over, first) * DAY_NS, ())
    users = f"SELECT user_id, any(first_day) AS first_day, any(days) AS days FROM {found.rows} GROUP BY user_id"
    counts = f"SELECT first_day, day - first_day AS after, count() AS users FROM ({users}) ARRAY JOIN days AS day GROUP BY first_day, after"
    back = {(int(day), int(after)): int(n) for day, after, n in client.query(counts, parameters=parameters).result_rows}
    records = []
    for cohort in sorted(day for day, after in back if after == 0):
        size = back[cohort, 0]
        for after in range(days + 1):
            known = cohort + after < over
            n = back.get((cohort, after), 0)
            low, high = wilson(n, size)
            figures = (n, n / size, low, high) if known else (None, None, None, None)
            records.append((pd.Timestamp(cohort, unit="D", tz="UTC"), size, after, *figures))
    frame = pd.DataFrame.from_records(records, columns=["cohort", "size", "day", "users", "share", "low", "high"])
    return frame.astype(dict.fromkeys(("users", "share", "low", "high"), "float64"))
