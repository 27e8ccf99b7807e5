"""KPIs that exist by what is configured or stored: one for each objective, or for each name of a score."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from monitor.kpis.kpi import Kpi
from monitor.store import Client


@dataclass(frozen=True, kw_only=True)
class Dynamic:
    """A part of a family that is found in the store.

    Parameters
    ----------
    prefix : str
        How all names of it begin, such as `objective.`.
    find : callable
        The KPIs that there are now; asked only when a name could be one of them.
    examples : sequence of Kpi
        The same with a placeholder instead of the name, such as `objective.<name>.attainment`, for the documentation.
    """

    prefix: str
    find: Callable[[Client], Sequence[Kpi]]
    examples: Sequence[Kpi]

    def may_hold(self, name: str) -> bool:
        """Whether this name, or front of a name, could mean one of them."""
        return f"{name.rstrip('.')}.".startswith(self.prefix) or self.prefix.startswith(f"{name.rstrip('.')}.")
