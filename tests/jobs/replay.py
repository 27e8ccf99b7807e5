"""A month of calls, made by the store itself: the hours of a day and the days of a week differ, and nothing else changes."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from monitor.store import Client

START: Final = datetime(2026, 3, 2, tzinfo=UTC)  # a Monday
HOUR_S: Final = 3600


def fill(
    client: Client,
    *,
    days: int = 30,
    per_hour: int = 160,
    seed: int = 1,
    shifts: str = "0",
    even: bool = False,
    service: str = "chat",
    unlabelled: str = "0",
) -> None:
    """Calls of `days` days.

    Nights have a third of the calls and longer prompts than office hours, weekends half of the calls and other users:
    what a job takes for drift that compares an hour with the one before. All is drawn from hashes, so that it is the same
    each time.

    Parameters
    ----------
    shifts : str
        SQL over `hour` (hours since the start): 1 where the incident is. Prompts are then longer and of another topic
        (`prompt`), and German questions are refused more often.
    even : bool
        All hours alike, and all calls kept.
    unlabelled : str
        SQL over `hour`: 1 where calls do not say their language.
    """

    def u(name: str) -> str:
        return f"(cityHash64({seed}, '{name}', number) % 1000003 + 0.5) / 1000003"

    def normal(name: str) -> str:
        return f"sqrt(-2 * log({u(name + '1')})) * cos(2 * pi() * {u(name + '2')})"

    office = "1" if even else "(hour % 24 BETWEEN 8 AND 18)"
    weekend = "0" if even else "(intDiv(hour, 24) % 7 >= 5)"
    keep = "1" if even else f"{u('keep')} < if({office}, 1, 0.33) * if({weekend}, 0.5, 1)"
    client.command(
        f"""INSERT INTO inferences (timestamp, trace_id, span_id, role, service, model, input_tokens, output_tokens, ttft_s,
            duration_s, finish_reason, error_type, cohorts, prompt, cost_usd)
        SELECT timestamp, lower(hex(cityHash64({seed}, number, 'a')) || hex(cityHash64({seed}, number, 'b'))), lower(hex(cityHash64({seed}, number))),
            'client', '{service}', 'llama', input, output, ttft, ttft + 0.02 * output, finish, error, if({unlabelled}, map(), map('language', language)), prompt,
            (input + 3 * output) * 1e-6
        FROM (
        SELECT number, intDiv(number, {per_hour}) AS hour, ({shifts}) AS shifted,
            fromUnixTimestamp64Nano(toInt64(({int(START.timestamp())} + hour * {HOUR_S} + {u("at")} * {HOUR_S}) * 1e9)) AS timestamp,
            toUInt64(exp(5 + if({office}, 0, 0.8) + 0.9 * ({normal("in")}) + 0.9 * shifted)) AS input,
            toUInt64(exp(4.5 + if({office}, 0.3, 0) + 0.8 * ({normal("out")}))) AS output,
            exp(-1.5 + if({office}, 0.3, 0) + 0.4 * ({normal("ttft")})) AS ttft,
            multiIf({u("lang")} < if({weekend}, 0.45, 0.3), 'de', {u("lang")} < 0.8, 'en', 'fr') AS language,
            if({u("error")} < 0.01, 'timeout', '') AS error,
            multiIf(error != '', '', {u("refused")} < if(shifted AND language = 'de', 0.3, 0.02), 'content_filter',
                {u("length")} < 0.1, 'length', 'stop') AS finish,
            if(shifted AND {u("topic")} < 0.6, concat('why was my refund for order ', toString(number % 97), ' rejected by the bank'),
                concat('please summarise chapter ', toString(number % 89), ' of the ', ['novel', 'report', 'paper'][number % 3 + 1])) AS prompt
        FROM numbers({days * 24 * per_hour}) WHERE {keep})"""
    )
