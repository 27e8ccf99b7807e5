"""Reads recorded workloads: an arrival trace (CSV) or a vLLM benchmark result (JSON), plain or gzipped."""

from __future__ import annotations

import csv
import gzip
import io
import json
import math
import re
import zlib
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from pathlib import Path
from typing import Any, Final, NoReturn

import numpy as np
from numpy.typing import NDArray

from monitor.errors import BadInput

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

NS: Final = 1_000_000_000
TOKENS_MAX: Final = 2**31 - 1
CSV_COLUMNS: Final = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")
# The file records how arrivals were drawn but not when they happened, so they are drawn again, always the
# same way.
ARRIVALS_SEED: Final = 20250414

_STAMP = re.compile(r"(\d{4}-\d\d-\d\d)[ T](\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?\s*(Z|[+-]\d\d:?\d\d)?")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ERROR_CLASS = re.compile(r"(?:[A-Za-z_]\w*\.)*([A-Z]\w*(?:Error|Exception|Timeout|Disconnected|Refused))\b")


@dataclass(frozen=True, kw_only=True, eq=False)
class Measured:
    """Latencies that were really measured, one entry a request.

    Parameters
    ----------
    ttft_s : array of float
        Time to first token in seconds, exactly as in the file; NaN where no token came.
    duration_ns : array of int
        Time to first token plus all gaps between tokens, rounded once to a nanosecond.
    largest_gap_s : array of float
        Largest gap between two tokens in seconds; NaN below two tokens.
    errors : tuple of str
        `error.type` of a failed request, empty where it succeeded.
    """

    ttft_s: Floats
    duration_ns: Ints
    largest_gap_s: Floats
    errors: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class Workload:
    """Requests in order of arrival.

    `arrival_ns` counts from the first arrival. `first_arrival_ns` is when that was (Unix time; a stamp
    without a zone is taken as UTC), or None if the file does not say. `measured` is None when latencies must
    be made up.
    """

    name: str
    arrival_ns: Ints
    input_tokens: Ints
    output_tokens: Ints
    first_arrival_ns: int | None = None
    arrivals_simulated: bool = False
    measured: Measured | None = None
    model: str = ""
    provider: str = ""

    def __len__(self) -> int:
        return len(self.arrival_ns)


def read_workload(path: Path | str) -> Workload:
    """Read a workload file; what kind it is follows from its content.

    Raises
    ------
    BadInput
        If the file cannot be read or does not hold a workload; the message names file, line, column and what
        was wanted.
    """
    path = Path(path)
    text = _text(path)
    if not text.strip():
        raise BadInput(
            f"{path} is empty; wanted a CSV with the columns {','.join(CSV_COLUMNS)}, or a vLLM benchmark JSON."
        )
    if path.name.removesuffix(".gz").endswith(".json") or text.lstrip()[0] in "{[":
        return _read_vllm(path, text)
    return _read_csv(path, text)


def azure_trace() -> Workload:
    """The packaged Azure conversation trace of 2023: 19,366 real arrivals and sizes within 58 min 22 s."""
    data = files("collectors.simulate").joinpath("data/azure-llm-2023-conv.csv.gz").read_bytes()
    path = Path("azure-llm-2023-conv.csv.gz")
    return _read_csv(path, gzip.decompress(data).decode())


def _text(path: Path) -> str:
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise BadInput(f"There is no file {path}; give the path of a workload file.") from None
    except IsADirectoryError:
        raise BadInput(f"{path} is a folder; give the path of a workload file.") from None
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}; check its permissions.") from error
    if raw[:2] == b"\x1f\x8b":
        try:
            raw = gzip.decompress(raw)
        except (OSError, EOFError, zlib.error) as error:
            raise BadInput(f"{path} is not a whole gzip file ({error}); copy it again.") from error
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadInput(
            f"{path} is not text in UTF-8 (byte {error.start}); wanted a CSV or JSON workload file."
        ) from error


# --- CSV ----------------------------------------------------------------------------------------------------


def _read_csv(path: Path, text: str) -> Workload:
    rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    arrivals, inputs, outputs = array("q"), array("q"), array("q")
    try:
        header = [name.strip() for name in next(rows)]
        columns = _columns(path, header)
        for row in rows:
            if not row:
                continue
            stamp, context, generated = _cells(path, rows.line_num, row, columns)
            arrivals.append(_stamp_ns(path, rows.line_num, stamp))
            inputs.append(_tokens(path, rows.line_num, CSV_COLUMNS[1], context))
            outputs.append(_tokens(path, rows.line_num, CSV_COLUMNS[2], generated))
    except csv.Error as error:
        raise BadInput(f"{path}, line {rows.line_num}: not CSV ({error}).") from error
    if not arrivals:
        raise BadInput(f"{path} has a header and no requests; wanted at least one line after it.")
    when = np.array(arrivals, dtype=np.int64)
    order = np.argsort(when, kind="stable")
    return Workload(
        name=_stem(path),
        arrival_ns=when[order] - when.min(),
        input_tokens=np.array(inputs, dtype=np.int64)[order],
        output_tokens=np.array(outputs, dtype=np.int64)[order],
        first_arrival_ns=int(when.min()),
    )


def _columns(path: Path, header: Sequence[str]) -> list[int]:
    for name in CSV_COLUMNS:
        if name not in header:
            found = ",".join(header)
            raise BadInput(
                f"{path}, line 1: column {name} is missing; wanted {','.join(CSV_COLUMNS)}, found {found[:200]}."
            )
    return [header.index(name) for name in CSV_COLUMNS]


def _cells(path: Path, line: int, row: Sequence[str], columns: Sequence[int]) -> list[str]:
    for name, column in zip(CSV_COLUMNS, columns, strict=True):
        if column >= len(row):
            raise BadInput(f"{path}, line {line}, column {name}: missing; the line has {len(row)} columns.")
    return [row[column] for column in columns]


def _stamp_ns(path: Path, line: int, text: str) -> int:
    """Nanoseconds since 1970; `datetime` would cut the seventh decimal off."""
    found = _STAMP.fullmatch(text.strip())
    if found:
        day, clock, fraction, zone = found.groups()
        try:
            moment = datetime.fromisoformat(f"{day} {clock}").replace(tzinfo=UTC)
            if zone and zone != "Z":
                moment -= _offset(zone)
            return (moment - _EPOCH) // timedelta(seconds=1) * NS + int((fraction or "").ljust(9, "0"))
        except (ValueError, OverflowError):
            pass
    raise BadInput(
        f"{path}, line {line}, column {CSV_COLUMNS[0]}: {_shown(text)} is not a time; "
        "wanted YYYY-MM-DD HH:MM:SS.fffffff."
    )


def _offset(zone: str) -> timedelta:
    digits = zone[1:].replace(":", "")
    shift = timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
    return -shift if zone[0] == "-" else shift


def _tokens(path: Path, line: int, column: str, text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        value = -1
    # int() also takes "1_000" and Arabic digits; a file with those is not what it seems to be.
    if 0 <= value <= TOKENS_MAX and text.strip().isascii() and "_" not in text:
        return value
    raise BadInput(
        f"{path}, line {line}, column {column}: {_shown(text)} is not a number of tokens; "
        f"wanted a whole number from 0 to {TOKENS_MAX}."
    )


# --- vLLM benchmark JSON ------------------------------------------------------------------------------------


def _read_vllm(path: Path, text: str) -> Workload:
    run = _VllmRun(path, text)
    input_lens = run.integers("input_lens")
    output_lens = run.integers("output_lens", like=len(input_lens))
    ttfts = run.numbers("ttfts", like=len(input_lens))
    gaps = run.gap_lists("itls", like=len(input_lens))
    errors = run.errors("errors", like=len(input_lens))
    arrival_ns, simulated = run.arrivals(len(input_lens))
    order = np.argsort(arrival_ns, kind="stable")
    failed = np.array([bool(error) for error in errors])
    no_token = (np.array(output_lens) == 0) | (failed & (np.array(ttfts) == 0.0))
    measured = Measured(
        ttft_s=np.where(no_token, np.nan, ttfts)[order],
        duration_ns=np.array(
            [round(math.fsum([t, *g]) * NS) for t, g in zip(ttfts, gaps, strict=True)], dtype=np.int64
        )[order],
        largest_gap_s=np.array([max(g, default=math.nan) for g in gaps])[order],
        errors=tuple(errors[i] for i in order),
    )
    return Workload(
        name=_stem(path),
        arrival_ns=arrival_ns[order],
        input_tokens=np.array(input_lens, dtype=np.int64)[order],
        output_tokens=np.array(output_lens, dtype=np.int64)[order],
        arrivals_simulated=simulated,
        measured=measured,
        model=run.word("model_id"),
        provider=run.word("backend") or "vllm",
    )


class _VllmRun:
    """The JSON object with checks that name the file and the field."""

    def __init__(self, path: Path, text: str) -> None:
        self.path = path
        try:
            self.data: Any = json.loads(text)
        except json.JSONDecodeError as error:
            raise BadInput(f"{path}, line {error.lineno}, column {error.colno}: not JSON ({error.msg}).") from error
        except RecursionError:
            raise BadInput(f"{path}: not a vLLM benchmark result, its JSON is nested too deeply.") from None
        if not isinstance(self.data, dict):
            raise BadInput(f"{path}: wanted one JSON object as vLLM's benchmark saves it, found a {_kind(self.data)}.")

    def refuse(self, what: str) -> NoReturn:
        raise BadInput(f"{self.path}: {what}")

    def word(self, name: str) -> str:
        value = self.data.get(name)
        return value if isinstance(value, str) else ""

    def listed(self, name: str, like: int | None) -> list[Any]:
        value = self.data.get(name)
        if value is None:
            self.refuse(f"the list {name} is missing; save the benchmark with its details (--save-detailed).")
        if not isinstance(value, list):
            self.refuse(f"{name} is a {_kind(value)}; wanted a list with one entry a request.")
        if like is not None and len(value) != like:
            self.refuse(f"{name} has {len(value)} entries and input_lens has {like}; wanted one a request in each.")
        if not value:
            self.refuse(f"{name} is empty; wanted at least one request.")
        return value

    def integers(self, name: str, like: int | None = None) -> list[int]:
        values = self.listed(name, like)
        for i, value in enumerate(values):
            if type(value) is not int or not 0 <= value <= TOKENS_MAX:
                self.refuse(f"{name}[{i}] is {_shown(value)}; wanted a whole number of tokens from 0 to {TOKENS_MAX}.")
        return values

    def numbers(self, name: str, like: int | None = None) -> list[float]:
        return [self.seconds(f"{name}[{i}]", value) for i, value in enumerate(self.listed(name, like))]

    def seconds(self, where: str, value: Any) -> float:
        # A day is far above any real request and keeps sums of nanoseconds within 64 bits.
        if type(value) not in (int, float) or not 0 <= value <= 86_400:
            self.refuse(f"{where} is {_shown(value)}; wanted seconds from 0 to 86400.")
        return float(value)

    def gap_lists(self, name: str, like: int) -> list[list[float]]:
        lists = self.listed(name, like)
        for i, gaps in enumerate(lists):
            if not isinstance(gaps, list):
                self.refuse(f"{name}[{i}] is a {_kind(gaps)}; wanted a list of the gaps between tokens.")
        return [[self.seconds(f"{name}[{i}][{j}]", gap) for j, gap in enumerate(gaps)] for i, gaps in enumerate(lists)]

    def errors(self, name: str, like: int) -> list[str]:
        if self.data.get(name) is None:
            return [""] * like
        values = self.listed(name, like)
        for i, value in enumerate(values):
            if not (value is None or isinstance(value, str)):
                self.refuse(f"{name}[{i}] is a {_kind(value)}; wanted text, empty for a request that succeeded.")
        return [error_type(value or "") for value in values]

    def arrivals(self, count: int) -> tuple[Ints, bool]:
        """Offsets in nanoseconds and whether they are made up; newer vLLM records them as `start_times`."""
        if self.data.get("start_times") is not None:
            values = self.listed("start_times", count)
            for i, value in enumerate(values):
                if type(value) not in (int, float) or not 0 <= value <= 2**33:
                    self.refuse(f"start_times[{i}] is {_shown(value)}; wanted seconds.")
            started = np.array(values, dtype=np.float64)
            return np.rint((started - started.min()) * NS).astype(np.int64), False
        return self.drawn_arrivals(count), True

    def drawn_arrivals(self, count: int) -> Ints:
        rate = self._positive("request_rate", default=math.inf)
        burstiness = self._positive("burstiness", default=1.0)
        if math.isinf(rate):
            return np.zeros(count, dtype=np.int64)
        # As vLLM's benchmark draws them: gamma gaps with this shape and a mean of 1/rate; shape 1 is a
        # Poisson process.
        gaps = np.random.default_rng(ARRIVALS_SEED).gamma(burstiness, 1.0 / (rate * burstiness), count)
        gaps[0] = 0.0
        return np.rint(np.cumsum(gaps) * NS).astype(np.int64)

    def _positive(self, name: str, default: float) -> float:
        value = self.data.get(name)
        if value is None:
            return default
        if value == "inf":
            return math.inf
        if type(value) not in (int, float) or not value >= 1e-6:
            self.refuse(f"{name} is {_shown(value)}; wanted a number of at least 0.000001, or inf.")
        return float(value)


def error_type(text: str) -> str:
    """A short name for an error, of which there are few: the exception's class if the text holds one.

    Examples
    --------
    >>> error_type("Traceback ...\\naiohttp.client_exceptions.ServerDisconnectedError: Server disconnected")
    'ServerDisconnectedError'
    >>> error_type("Service Unavailable"), error_type(""), error_type("request 17 of 200 went wrong at 12:03")
    ('Service Unavailable', '', '_OTHER')
    """
    if not text.strip():
        return ""
    last = text.strip().splitlines()[-1]
    if found := _ERROR_CLASS.search(last):
        return found.group(1)
    # An HTTP reason phrase is a good name; anything with digits in it may differ for every request.
    return last.strip() if re.fullmatch(r"[A-Za-z][A-Za-z \-]{0,39}", last.strip()) else "_OTHER"


def _stem(path: Path) -> str:
    return path.name.removesuffix(".gz").removesuffix(".csv").removesuffix(".json")


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _kind(value: object) -> str:
    names = {dict: "JSON object", list: "list", str: "text", bool: "truth value", type(None): "null"}
    return names.get(type(value), "number")
