"""Which of the catalogue's models is planned for."""

from __future__ import annotations

import difflib
from collections.abc import Mapping

from monitor.errors import BadInput
from monitor.stats.plan import Catalogue


def plain(name: str) -> str:
    """A model's name without its maker and in lower case: `meta-llama/Llama-3.3-70B` and `llama-3.3-70b` are one."""
    return name.rsplit("/", 1)[-1].lower()


def choose_model(catalogue: Catalogue, wanted: str, seen: Mapping[str, float]) -> str:
    """The catalogue's name of a model.

    Parameters
    ----------
    wanted : str
        Name that was asked for; empty: the only one, or the one that was seen most.
    seen : mapping
        Models of the measured calls, the most first; empty for a stated usage.

    Raises
    ------
    BadInput
        If the name is not in the catalogue, or none is given and it does not follow.
    """
    known = {plain(name): name for name in catalogue.models}
    if wanted:
        if plain(wanted) in known:
            return known[plain(wanted)]
        near = difflib.get_close_matches(plain(wanted), list(known), n=1, cutoff=0.5)
        advice = f"did you mean `{known[near[0]]}`?" if near else f"known are {', '.join(catalogue.models)}"
        raise BadInput(f"the catalogue has no model `{wanted}`; {advice}")
    if len(known) == 1:
        return next(iter(known.values()))
    for name in seen:
        if plain(name) in known:
            return known[plain(name)]
    raise BadInput(f"choose the model to plan for with --model; the catalogue has {', '.join(catalogue.models)}")
