"""Command `bias`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from monitor.cli import app
from monitor.cli.common import Config, Data

if TYPE_CHECKING:
    from monitor.kpis import Window
    from monitor.stats.bias import Family, Options

RATES = {"accuracy", "selection_rate", "true_positive_rate", "false_positive_rate", "precision"}


class Better(StrEnum):
    HIGHER = "higher"
    LOWER = "lower"


@app.command()
def bias(
    source: Annotated[
        str | None,
        typer.Argument(
            metavar="FILE|WINDOW",
            help="CSV, JSON Lines (also gzipped) or Parquet; or a window of the store: 24h, or START/END with dates or times.",
            show_default=False,
        ),
    ] = None,
    group: Annotated[
        list[str] | None,
        typer.Option(
            help="Column to compare by; a,b compares by each and by both together; may be repeated. Of the store: a"
            " dimension, or the name of a cohort.",
            show_default=False,
        ),
    ] = None,
    label: Annotated[
        str | None,
        typer.Option(help="Column with the truth. Of the store: name of an evaluation.", show_default=False),
    ] = None,
    prediction: Annotated[
        str | None,
        typer.Option(help="Column with the answer. Of the store: name of an evaluation.", show_default=False),
    ] = None,
    positive: Annotated[
        str | None, typer.Option(help="Class that rates are of, if labels are not yes and no.", show_default=False)
    ] = None,
    outcome: Annotated[
        list[str] | None,
        typer.Option(
            help="Column with any outcome: yes and no, or a number; may be repeated. Of the store: error, refusal,"
            " latency, ttft, correct, thumbs_up, or score.NAME (default: error, refusal, latency).",
            show_default=False,
        ),
    ] = None,
    better: Annotated[
        Better | None, typer.Option(help="Which end of the outcomes is good, if the name does not tell.")
    ] = None,
    weight: Annotated[
        str | None, typer.Option(help="Column with the calls that a row stands for.", show_default=False)
    ] = None,
    count: Annotated[
        str | None,
        typer.Option(help="Column with how often a row occurs, of rows that were counted before.", show_default=False),
    ] = None,
    tolerance: Annotated[float, typer.Option(help="Largest difference that is no alert, in the metric's unit.")] = 0.05,
    ratio_tolerance: Annotated[float, typer.Option(help="Smallest ratio of lowest to highest that is no alert.")] = 0.8,
    min_n: Annotated[int, typer.Option(help="Rows below which a group is shown, and not judged.")] = 30,
    level: Annotated[float, typer.Option(help="Confidence of intervals.")] = 0.95,
    where: Annotated[
        list[str] | None,
        typer.Option(help="Store: only calls where k=v, or k=a,b; may be repeated.", show_default=False),
    ] = None,
    bbq: Annotated[
        Path | None,
        typer.Option(help="Score answers to BBQ's questions instead, from its JSON Lines.", show_default=False),
    ] = None,
    answers: Annotated[
        list[str] | None,
        typer.Option(help="Field of that file with the answers; may be repeated.", show_default=False),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    data: Data = None,
    config: Config = None,
) -> None:
    """Compare groups of users: rates, means and gaps with intervals, and an alert where a gap is surely too large.

    A group that is too small is shown and not judged; see docs/bias.md for what each number means and when it lies.
    """
    if bbq is not None:
        _refuse_with_bbq({"FILE|WINDOW": source, "--group": group, "--label": label, "--outcome": outcome})
        _score(bbq, answers or [], json=json)
        return
    if source is None or not group:
        raise typer.BadParameter("give a file or a window, and at least one --group; or --bbq FILE")
    if label and not prediction:
        raise typer.BadParameter("--label needs --prediction to be compared with")
    if answers:
        raise typer.BadParameter("--answers belongs to --bbq")
    from monitor.stats.bias import Options, assess

    options = _options(Options, tolerance=tolerance, ratio_tolerance=ratio_tolerance, min_n=min_n, level=level)
    by = [[name.strip() for name in each.split(",") if name.strip()] for each in dict.fromkeys(group)]
    outcome = list(dict.fromkeys(outcome or ()))
    if prediction and set(outcome) & RATES:
        raise typer.BadParameter(
            f"--outcome {', '.join(set(outcome) & RATES)} has the name of a rate; rename the column"
        )
    if any(not each or len(set(each)) != len(each) for each in by):
        raise typer.BadParameter("--group wants column names, each once: --group language,tier")
    chosen: Literal["higher", "lower"] | None = None if better is None else better.value
    path = Path(source)
    if _is_file(path):
        if where:
            raise typer.BadParameter("--where filters the store, not a file")
        if not prediction and not outcome:
            raise typer.BadParameter("give --prediction (and --label), or --outcome")
        from monitor.bias import read_families

        found, notes = read_families(
            path, by=by, label=label, prediction=prediction, positive=positive, outcomes=outcome, weight=weight, count=count,
            better=chosen,
        )  # fmt: skip
    else:
        if weight or count:
            raise typer.BadParameter("--weight and --count are columns of a file; the store knows its own")
        found, notes = _from_store(source, by, where, label, prediction, positive, outcome, chosen, data, config)
    report = assess(found, options)
    from monitor.bias.render import to_json, to_view

    if json:
        print(to_json(report))
        for note in notes:
            typer.echo(f"note: {note}", err=True)
        return
    from rich.console import Console

    Console().print(to_view(report, notes))


def _options(make: type[Options], **values: float) -> Options:
    try:
        return make(**values)  # type: ignore[arg-type]
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def _is_file(path: Path) -> bool:
    from monitor.bias.files import ENDINGS

    return path.exists() or path.name.lower().removesuffix(".gz").endswith(ENDINGS) or path.suffix == ".gz"


def _from_store(
    source: str,
    by: list[list[str]],
    where: list[str] | None,
    label: str | None,
    prediction: str | None,
    positive: str | None,
    outcomes: list[str] | None,
    better: Literal["higher", "lower"] | None,
    data: Path | None,
    config: Path | None,
) -> tuple[list[Family], list[str]]:
    from monitor.bias import families_from_store
    from monitor.kpis import parse_where
    from monitor.settings import load_settings
    from monitor.store.reader import open_existing

    window, condition = _window(source), parse_where(where or ())
    wanted = outcomes or ([] if prediction else ["error", "refusal", "latency"])
    client = open_existing(load_settings(config, data))
    try:
        return families_from_store(
            client, window, by=by, where=condition, label=label, prediction=prediction, positive=positive,
            outcomes=wanted, better=better,
        )  # fmt: skip
    finally:
        client.close()


def _window(text: str) -> Window:
    """A length of time up to now, or START/END."""
    from datetime import UTC, datetime

    from monitor.errors import BadInput
    from monitor.kpis import Window

    start, slash, end = text.partition("/")
    if not slash:
        try:
            return Window.last(text)
        except BadInput:
            raise BadInput(
                f"`{text}` is neither a file nor a window; give a file that is there, 24h, or START/END such as"
                " 2026-03-01/2026-03-02T12:00"
            ) from None
    try:
        moments = [datetime.fromisoformat(each) for each in (start, end)]
    except ValueError:
        raise BadInput(
            f"the window `{text}` has no two times; write them as 2026-03-01T00:00/2026-03-02T00:00"
        ) from None
    return Window(*(each if each.tzinfo else each.replace(tzinfo=UTC) for each in moments))


def _refuse_with_bbq(given: dict[str, object]) -> None:
    others = [name for name, value in given.items() if value]
    if others:
        raise typer.BadParameter(f"--bbq reads a file of its own; leave {', '.join(others)} out")


def _score(path: Path, answers: list[str], *, json: bool) -> None:
    from monitor.bias import score_bbq
    from monitor.bias.render import bbq_to_json, bbq_to_view

    scores = score_bbq(path, answers=answers)
    if json:
        print(bbq_to_json(scores))
        return
    from rich.console import Console

    Console().print(bbq_to_view(scores))
    unmatched = sum({(score.category, score.answers): score.unmatched for score in scores}.values())
    if unmatched:
        Console().print(f"{unmatched} answers are none of their question's three, and left out", style="dim")
