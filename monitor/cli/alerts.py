"""Commands about alerts: `alerts`, `alerts check`, `test`, `backtest`, `ack`, `mark`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from monitor.cli import app
from monitor.cli.common import Config, Data

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.table import Table

    from alerts.backtest import Replay
    from alerts.listing import Listed
    from alerts.rules import Known, Rule
    from monitor.settings import Settings
    from monitor.store import Client

alerts_app = typer.Typer(
    invoke_without_command=True,
    help="List alerts, and check, test, replay and judge their rules.",
    no_args_is_help=False,
)
app.add_typer(alerts_app, name="alerts")

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Author = Annotated[str, typer.Option(help="Who says so (default: the name of this user).", show_default=False)]
Comment = Annotated[str, typer.Option(help="Why, in a few words.", show_default=False)]
Fingerprint = Annotated[str, typer.Argument(help="Of the alert, as in `monitor alerts`; four digits of it are enough.")]


@alerts_app.callback()
def alerts(context: typer.Context, json: Json = False, data: Data = None, config: Config = None) -> None:
    """List alerts: state, value, threshold, n and since when; what alarms first."""
    if context.invoked_subcommand is not None:
        if json or data is not None or config is not None:
            raise typer.BadParameter("give options after the subcommand: `monitor alerts check --json`")
        return
    from json import dumps

    from alerts.listing import counts, listed, rules_json
    from monitor.settings import load_settings
    from monitor.store.client import explained, server_address
    from monitor.store.reader import open_existing

    settings = load_settings(config, data)
    client = open_existing(settings)
    try:
        with explained(server_address(settings.store_url)):
            _refuse_old_schema(client)
            found, rules = listed(client), rules_json(client)
    finally:
        client.close()
    if json:
        print(dumps({"alerts": [each.as_json() for each in found], "rules": rules}, indent=2))
        return
    from rich.console import Console

    console = Console()
    if found:
        console.print(_table(found))
    said = ", ".join(f"{count} {state}" for state, count in counts(found).items()) or "nothing alarms"
    evaluated = max((str(rule["evaluated_at"]) for rule in rules), default="never")[:19].replace("T", " ")
    console.print(f"{len(rules)} rules, {said}; evaluated {evaluated} UTC", highlight=False)
    for rule in rules:
        if rule["health"] == "error":
            console.print(f"cannot be evaluated: {rule['rule']}: {rule['reason']}", highlight=False)


@alerts_app.command("check")
def check(json: Json = False, data: Data = None, config: Config = None) -> None:
    """Say what is wrong with alert rules, with the line of the file; exit code 1 if anything is.

    With a store, rules that were made in the dashboard are looked at too.
    """
    from dataclasses import asdict
    from json import dumps

    from alerts.lint import Finding, line_of_error, lint
    from monitor.errors import ConfigError
    from monitor.settings import load_settings
    from monitor.settings.load import DEFAULT_CONFIG

    path = config or (DEFAULT_CONFIG if DEFAULT_CONFIG.exists() else None)
    try:
        settings = load_settings(config, data)
    except ConfigError as error:
        line = line_of_error(error, path)
        if json:
            print(dumps([asdict(Finding(level="error", rule="", text=str(error), line=line))], indent=2))
            raise typer.Exit(1) from None
        raise ConfigError(f"line {line}: {error}" if line else str(error)) from None
    known, stored, ending = _known(settings)
    book, findings = lint(settings, known, path, stored)
    if json:
        print(dumps([asdict(finding) for finding in findings], indent=2))
    else:
        for finding in findings:
            at = f"{path}, line {finding.line}: " if finding.line else ""
            print(f"{finding.level}: {at}{finding.text}")
        origins = [rule.origin for rule in book.rules]
        split = ", ".join(f"{origins.count(each)} {words}" for each, words in _ORIGINS.items() if each in origins)
        print(f"{len(book.rules)} rules are evaluated ({split or 'none'}){ending}")
    if any(finding.level == "error" for finding in findings):
        raise typer.Exit(1)


_ORIGINS = {"file": "of the file", "dashboard": "of the dashboard", "default": "that come with Inference Monitor"}


@alerts_app.command("test")
def run_tests(
    file: Annotated[Path, typer.Argument(help="Tests of rules, in YAML; see docs/alerts.md.")], config: Config = None
) -> None:
    """Run unit tests of rules: made series, and which alerts they should lead to; exit code 1 if one fails."""
    from alerts.rule_tests import run_file
    from monitor.settings import load_settings

    count, failures = run_file(file, load_settings(config) if config is not None else None)
    for failure in failures:
        at = f", line {failure.line}" if failure.line else ""
        print(f"failed: {file}{at}: {failure.test}: {failure.text}")
    failed = len({failure.test for failure in failures})
    print(f"{count - failed} of {count} tests passed")
    if failures:
        raise typer.Exit(1)


@alerts_app.command("backtest")
def backtest(
    since: Annotated[str, typer.Option(help="How far back, such as 7d or 30d.")] = "30d",
    rule: Annotated[list[str] | None, typer.Option(help="Only this rule; may be repeated.", show_default=False)] = None,
    shift: Annotated[
        str | None,
        typer.Option(
            help="Also say how long a change would go unseen: 1.5x, or +0.2 (KPI's unit).", show_default=False
        ),
    ] = None,
    json: Json = False,
    data: Data = None,
    config: Config = None,
) -> None:
    """Replay history: how often rules would have fired, for how long, how many alerts a week to expect."""
    from dataclasses import asdict
    from datetime import UTC, datetime
    from json import dumps

    from rich.progress import Progress

    from alerts.backtest import backtest as replay
    from alerts.backtest import read_shift
    from monitor.errors import BadInput
    from monitor.kpis import parse_duration
    from monitor.settings import load_settings
    from monitor.store.client import explained, server_address
    from monitor.store.reader import open_existing

    settings = load_settings(config, data)
    moved = read_shift(shift) if shift is not None else None
    client = open_existing(settings)
    found: list[Replay] = []
    try:
        with explained(server_address(settings.store_url)):
            _refuse_old_schema(client)
            from alerts.evaluator import Evaluator

            rules = [each for each in Evaluator(settings).book(client).rules if not rule or _meant(each, rule)]
            if not rules:
                raise BadInput(
                    f"there is no rule `{', '.join(rule or ())}`; `monitor alerts check` says which there are"
                )
            with Progress(transient=True, disable=json) as progress:
                for each in progress.track(rules, description="replaying"):
                    found.append(replay(client, each, since=parse_duration(since), now=datetime.now(UTC), shift=moved))
    finally:
        client.close()
    if json:
        print(
            dumps([asdict(each) | {"delay_s": each.delay_s, "seen_share": each.seen_share} for each in found], indent=2)
        )
        return
    from rich.console import Console

    Console().print(_replays(found))
    pages = sum(each.a_week for each in found if each.severity == "page")
    print(f"expected: {pages:.1f} pages and {sum(each.a_week for each in found) - pages:.1f} tickets a week")


@alerts_app.command("ack")
def ack(
    fingerprint: Fingerprint, author: Author = "", comment: Comment = "", data: Data = None, config: Config = None
) -> None:
    """Say that somebody is on an alert."""
    from monitor.serve.alerts import send_mark
    from monitor.settings import load_settings

    body = {"fingerprint": fingerprint, "author": author or _user(), "comment": comment}
    written = send_mark(load_settings(config, data), body, kind="ack")
    print(f"{written['rule']} ({written['fingerprint']}), since {written['active_at'][:19]} UTC: acknowledged")


@alerts_app.command("mark")
def mark(
    fingerprint: Fingerprint,
    verdict: Annotated[str, typer.Argument(help="true: it was right to fire; false: it was not.")],
    author: Author = "",
    comment: Comment = "",
    data: Data = None,
    config: Config = None,
) -> None:
    """Say whether an alert was right to fire; `monitor alerts precision` adds up what was said."""
    from monitor.serve.alerts import send_mark
    from monitor.settings import load_settings

    body = {"fingerprint": fingerprint, "mark": verdict, "author": author or _user(), "comment": comment}
    written = send_mark(load_settings(config, data), body, kind="verdict")
    print(f"{written['rule']} ({written['fingerprint']}), since {written['active_at'][:19]} UTC: {verdict.lower()}")


@alerts_app.command("precision")
def precision(
    since: Annotated[str, typer.Option(help="How far back, such as 30d.")] = "30d",
    json: Json = False,
    data: Data = None,
    config: Config = None,
) -> None:
    """Say of each rule how often it fired, and how often that was right, of what was marked."""
    from dataclasses import asdict
    from datetime import UTC, datetime
    from json import dumps

    from alerts.marks import precision as read
    from monitor.kpis import parse_duration
    from monitor.settings import load_settings
    from monitor.store.client import explained, server_address
    from monitor.store.reader import open_existing

    settings = load_settings(config, data)
    client = open_existing(settings)
    try:
        with explained(server_address(settings.store_url)):
            _refuse_old_schema(client)
            found = read(client, since=parse_duration(since), now=datetime.now(UTC))
    finally:
        client.close()
    if json:
        print(dumps([asdict(each) | {"precision": each.share} for each in found], indent=2))
        return
    for each in found:
        share = (
            "not marked yet"
            if each.share is None
            else f"{each.share:.0%} of {each.right + each.wrong} marked were right"
        )
        print(f"{each.rule}: fired {each.fired} times; {share}")
    if not found:
        print(f"nothing fired in the last {since}")


def _known(settings: Settings) -> tuple[Known, Mapping[str, Mapping[str, Any]], str]:
    """What rules can be about, rules of the dashboard, and how the last line ends: with a store, what it says counts."""
    from alerts.book import known_from_settings, known_from_store
    from alerts.evaluator import every_s
    from alerts.stored_rules import stored_rules
    from monitor.errors import MonitorError
    from monitor.store.client import explained, server_address
    from monitor.store.reader import open_existing

    known = known_from_settings(settings, every_s=every_s(settings))
    try:
        client = open_existing(settings)
    except MonitorError:
        return known, {}, ""
    try:
        with explained(server_address(settings.store_url)):
            stored = {name: version.definition for name, version in stored_rules(client).items()}
            names = [rule.kpi for rule in settings.alerts] + [str(each.get("kpi", "")) for each in stored.values()]
            there = known_from_store(client, [name for name in names if name])
    except MonitorError as error:
        return known, {}, f"; the store was not asked: {error}"
    finally:
        client.close()
    # Objectives count as the file says: the store learns of them at the next start.
    kpis = {name: kpi for name, kpi in there.kpis.items() if not name.startswith("objective.")} | dict(known.kpis)
    return replace(known, kpis=kpis), stored, ""


def _refuse_old_schema(client: Client) -> None:
    from monitor.errors import StoreError

    if not client.command("EXISTS TABLE alert_state"):
        raise StoreError("the store has no account of alerts yet, as its schema is older; run `monitor migrate`")


def _meant(rule: Rule, names: Sequence[str]) -> bool:
    return rule.name in names or rule.declared in names


def _table(found: Sequence[Listed]) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE)
    for heading in ("alert", "rule", "group", "state", "value", "threshold", "n", "since (UTC)", "what"):
        justify: Literal["left", "right"] = "right" if heading in ("value", "threshold", "n") else "left"
        # What is copied, or read at a glance, stays whole in a narrow window.
        table.add_column(
            heading, justify=justify, no_wrap=heading in ("alert", "state", "value", "threshold", "since (UTC)")
        )
    for each in found:
        instance, track = each.kept.instance, each.kept.track
        since = track.resolved_at if track.state == "inactive" else track.active_at
        state = "resolved" if track.state == "inactive" else str(track.state)
        table.add_row(
            instance.fingerprint[:8],
            instance.rule,
            ", ".join(value or "(unknown)" for value in instance.group.values()),
            f"{state}, {each.ack.author} is on it" if each.ack else state,
            each.value_text,
            each.threshold_text,
            f"{instance.n:,}",
            f"{since:%Y-%m-%d %H:%M:%S}" if since else "-",
            instance.summary,
        )
    return table


def _replays(found: Sequence[Replay]) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE)
    shifted = any(each.delays_s for each in found)
    headings = [
        "rule",
        "severity",
        "fired",
        "a week",
        "in all",
        "longest",
        *(["shift seen", "after"] if shifted else []),
        "where most",
    ]
    for heading in headings:
        table.add_column(heading, justify="left" if heading in ("rule", "severity", "where most") else "right")
    for each in found:
        if each.skipped:
            table.add_row(each.rule, each.severity, *["-"] * (len(headings) - 3), each.skipped)
            continue
        group, count = next(iter(each.groups.items()), ("", 0))
        seen = (
            []
            if not shifted
            else ["-", "-"]
            if each.seen_share is None
            else [f"{each.seen_share:.0%}", _length(each.delay_s)]
        )
        most = f"{group} ({count})" if group else ""
        table.add_row(
            each.rule, each.severity, f"{each.fired}", f"{each.a_week:.1f}", _length(each.seconds), _length(each.longest_s), *seen, most
        )  # fmt: skip
    return table


def _length(seconds: float | None) -> str:
    from alerts.quantity import duration_text

    return "-" if seconds is None else duration_text(round(seconds))


def _user() -> str:
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"
