"""A table of labels against answers, as a database groups them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, kw_only=True)
class Confusion:
    """Labels (rows) against answers or verdicts (columns).

    Attributes
    ----------
    classes : tuple of str
        In the order of rows and of columns.
    w, ww : array of shape (k, k)
        Σw and Σw² of the rows in each cell; their number, both, without weights.
    n : int
        Rows.
    missing : int
        Rows that were left out, for want of a label or an answer.
    """

    classes: tuple[str, ...]
    w: npt.NDArray[np.float64]
    ww: npt.NDArray[np.float64]
    n: int
    missing: int = 0

    def __post_init__(self) -> None:
        shape = (len(self.classes),) * 2
        if self.w.shape != shape or self.ww.shape != shape:
            raise ValueError(f"{len(self.classes)} classes want tables of shape {shape}")
        if not ((self.w >= 0).all() and np.isfinite(self.w).all() and (self.ww >= 0).all()):
            raise ValueError("weights must be finite and not negative")

    @classmethod
    def from_sums(cls, cells: Iterable[tuple[str, str, int, float, float]]) -> Confusion:
        """From rows (label, answer, n, Σw, Σw²), at most one for each pair."""
        found = list(cells)
        classes = tuple(sorted({label for label, *_ in found} | {answer for _, answer, *_ in found}))
        at = {name: number for number, name in enumerate(classes)}
        w, ww = np.zeros((len(classes),) * 2), np.zeros((len(classes),) * 2)
        for label, answer, _, sum_w, sum_ww in found:
            w[at[label], at[answer]] += sum_w
            ww[at[label], at[answer]] += sum_ww
        return cls(classes=classes, w=w, ww=ww, n=sum(n for _, _, n, _, _ in found))

    @classmethod
    def of(
        cls, labels: Sequence[object], answers: Sequence[object], weights: Sequence[float] | None = None
    ) -> Confusion:
        """From one label and answer a row; None and NaN are left out and counted in `missing`."""
        import pandas as pd  # here, as tables that a database has grouped need none

        if len(labels) != len(answers) or (weights is not None and len(weights) != len(labels)):
            raise ValueError("labels, answers and weights must be of one length")
        w = np.ones(len(labels)) if weights is None else np.asarray(weights, dtype=np.float64)
        if not (np.isfinite(w).all() and (w > 0).all()):
            raise ValueError("weights must be finite and above 0")
        frame = pd.DataFrame(
            {"label": pd.Series(list(labels), dtype=object), "answer": pd.Series(list(answers), dtype=object), "w": w}
        )
        kept = frame.dropna().assign(ww=lambda each: each["w"] ** 2)
        kept = kept.assign(label=kept["label"].map(_name), answer=kept["answer"].map(_name))
        sums = kept.groupby(["label", "answer"], as_index=False).agg(n=("w", "size"), w=("w", "sum"), ww=("ww", "sum"))
        table = cls.from_sums(sums.itertuples(index=False, name=None))
        return cls(classes=table.classes, w=table.w, ww=table.ww, n=table.n, missing=len(frame) - len(kept))


def _name(value: object) -> str:
    """One name for 1, 1.0 and True, as they compare equal."""
    if isinstance(value, (bool, int, float, np.number, np.bool_)) and float(value) == int(value):
        return str(int(value))
    return str(value)
