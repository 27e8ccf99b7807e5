"""What is compared between groups: rates of a table of labels against predictions, and any outcome."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from monitor.stats.bias.sums import Array, Sums

Kind = Literal["share", "mean"]
Better = Literal["higher", "lower"]

# Outcomes of which less is better; of any other more is.
LOWER_IS_BETTER: Final = frozenset(
    {"error", "refusal", "refused", "toxicity", "toxic", "latency", "ttft", "thumbs_down", "blocked", "hallucination"}
)
_VERBS: Final = {
    "accuracy": "is answered rightly",
    "selection_rate": "is selected",
    "true_positive_rate": "is selected, where it should be,",
    "false_positive_rate": "is selected, where it should not be,",
    "precision": "should be selected, where it is,",
    "refusal": "is refused",
    "refused": "is refused",
    "error": "fails",
    "thumbs_up": "is liked by its users",
    "correct": "is answered rightly",
}
# Name -> (better, cells that are hits, cells that count); cells are label 0 or 1, prediction 0 or 1: 00, 01, 10, 11.
_RATES: Final[dict[str, tuple[Better, str, str]]] = {
    "accuracy": ("higher", "1001", "1111"),
    "selection_rate": ("higher", "0101", "1111"),
    "true_positive_rate": ("higher", "0001", "0011"),
    "false_positive_rate": ("lower", "0100", "1100"),
    "precision": ("higher", "0001", "0101"),
}


@dataclass(frozen=True, kw_only=True)
class Measure:
    """One number of each group.

    Attributes
    ----------
    name : str
    kind : {"share", "mean"}
    better : {"higher", "lower"}
        Which end is that of the group that is worst off.
    sums : Sums
    verb : str
        Completes "`de` … more often than the rest", for shares.
    """

    name: str
    kind: Kind
    better: Better
    sums: Sums
    verb: str = ""

    @property
    def value(self) -> Array:
        """Of each group, NaN where it has no rows."""
        return self.sums.share if self.kind == "share" else self.sums.mean

    @property
    def effective_n(self) -> Array:
        return self.sums.share_n if self.kind == "share" else self.sums.kish_n

    def merged(self, codes: npt.NDArray[np.int64], groups: int) -> Measure:
        """The same of coarser groups."""
        return replace(self, sums=self.sums.merged(codes, groups))


def outcome(name: str, kind: Kind, sums: Sums, *, better: Better | None = None) -> Measure:
    """Any outcome of rows: a share (refused, failed, liked) or a mean (score, seconds).

    Parameters
    ----------
    name : str
    kind : {"share", "mean"}
    sums : Sums
    better : {"higher", "lower"}, optional
        Which is good; told from the name if left out (`LOWER_IS_BETTER`, else higher).
    """
    if better is None:
        better = "lower" if name.lower() in LOWER_IS_BETTER else "higher"
    return Measure(name=name, kind=kind, better=better, sums=sums, verb=_VERBS.get(name, f"has `{name}`"))


def confusion_measures(
    n: npt.ArrayLike, w: npt.ArrayLike | None = None, ww: npt.ArrayLike | None = None
) -> list[Measure]:
    """Accuracy, selection rate, true and false positive rate and precision of each group.

    Parameters
    ----------
    n : array of shape (g, 2, 2)
        Rows of each group by label (0, 1) and prediction (0, 1).
    w, ww : array of shape (g, 2, 2), optional
        Σw and Σw² of the same cells; n if left out.

    Raises
    ------
    ValueError
        If a shape is another.
    """
    rows = np.asarray(n, dtype=np.float64)
    if rows.ndim != 3 or rows.shape[1:] != (2, 2):
        raise ValueError(f"counts must be of shape (groups, 2, 2), not {rows.shape}")
    cells = [rows if each is None else np.asarray(each, dtype=np.float64) for each in (None, w, ww)]
    if any(each.shape != rows.shape for each in cells):
        raise ValueError("counts and weights must be of one shape")
    flat = [each.reshape(len(rows), 4) for each in cells]
    found = []
    for name, (better, hits, among) in _RATES.items():
        hit, of = (np.array([cell == "1" for cell in mask]) for mask in (hits, among))
        sums = Sums.of_cells(*flat, hits=hit, among=of)
        found.append(Measure(name=name, kind="share", better=better, sums=sums, verb=_VERBS[name]))
    return found
