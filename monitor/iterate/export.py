"""Calls as files: for tuning a model on them, for trying one on them, or as they are.

- `chat`: one conversation a line, `{"messages": […]}`, which ends with the answer: what fine-tuning services take.
- `eval`: `input` (messages), `output` (the answer), `expected` (the truth, where a person or ground truth said it as a
  class), `scores` by name, `id`, `metadata`: what evaluation harnesses take.
- `raw`: every column of the call, with all judgements and feedback.
"""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from monitor.errors import BadInput, MonitorError
from monitor.iterate.calls import COLUMNS, Told, calls_of_dataset, calls_of_window
from monitor.iterate.messages import answer_message, plain, prompt_messages
from monitor.kpis import Window
from monitor.kpis.dimensions import Where
from monitor.kpis.sources.judged import NO, YES
from monitor.store import Client

Kind = Literal["chat", "eval", "raw"]
KINDS: Final = ("chat", "eval", "raw")
Keep = Literal["any", "right", "wrong"]
KEEPS: Final = ("any", "right", "wrong")
_EVERYTHING: Final[Where] = {}
Record = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Exported:
    """How many calls were written, and how many were left out since their content is not stored, or by their verdict."""

    written: int
    without_content: int
    by_verdict: int


def export(
    client: Client,
    path: Path,
    *,
    kind: Kind,
    dataset: str = "",
    window: Window | None = None,
    where: Where = _EVERYTHING,
    keep: Keep = "any",
    on_written: Callable[[int], None] = lambda written: None,
) -> Exported:
    """Write the calls of a dataset, or of a window, to a file; only a whole file gets the name.

    Parameters
    ----------
    client : Client
    path : Path
        Ends in `.jsonl`, `.jsonl.gz` or `.parquet`.
    kind : {"chat", "eval", "raw"}
    dataset : str
        Name of a dataset; or else
    window : Window
        when the calls began, with a filter `where`.
    keep : {"any", "right", "wrong"}
        By the newest verdict of people or ground truth on `correct`; calls without one are in `any` alone.

    Raises
    ------
    BadInput
        If the file's name fits no format, there is no such dataset, or no call to write; for `chat` and `eval` also if none
        has its prompt and answer in the store.
    """
    if bool(dataset) == (window is not None):
        raise BadInput("say what to export: either a dataset, or a time")
    blocks = calls_of_dataset(client, dataset) if window is None else calls_of_window(client, window, where)
    writer = _writer(path, kind)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    counts = {"written": 0, "without_content": 0, "by_verdict": 0}

    def records() -> Iterator[list[Record]]:
        for block in blocks:
            made = []
            for told in block:
                if keep != "any" and _verdict(told) != keep:
                    counts["by_verdict"] += 1
                    continue
                record = _RECORDS[kind](told)
                if record is None:
                    counts["without_content"] += 1
                else:
                    made.append(record)
            counts["written"] += len(made)
            if made:
                yield made
            on_written(counts["written"])

    try:
        writer(part, records())
        if not counts["written"]:
            raise _nothing(counts, kind)
        part.replace(path)
    except OSError as error:
        raise MonitorError(f"cannot write {path}: {error.strerror or error}; choose another place") from None
    finally:
        part.unlink(missing_ok=True)
    return Exported(**counts)


def _nothing(counts: Mapping[str, int], kind: str) -> BadInput:
    if counts["without_content"]:
        return BadInput(
            f"none of the {counts['without_content']:,} calls has its prompt and answer in the store: content was not captured."
            f" The format `{kind}` needs it: set capture_content=True in `monitor.init` (or what your emitter calls it) and"
            " `privacy.capture_content: true` here; it holds for calls from then on. `--as raw` exports the rest"
        )
    if counts["by_verdict"]:
        return BadInput(
            f"none of the {counts['by_verdict']:,} calls has that verdict; label some, or take `--keep any`"
        )
    return BadInput("no call fits, so there is nothing to write; give a longer --since, or another filter")


def _chat(told: Told) -> Record | None:
    prompt, answer = prompt_messages(told.values["prompt"]), answer_message(told.values["completion"])
    return {"messages": [*prompt, answer]} if prompt and answer is not None else None


def _eval(told: Told) -> Record | None:
    prompt, answer = prompt_messages(told.values["prompt"]), answer_message(told.values["completion"])
    if not prompt or answer is None:
        return None
    values = told.values
    scores = {each["name"]: each["score"] for each in told.judgements if each["score"] is not None}
    labels = {each["name"]: each["label"] for each in told.judgements if each["label"]}
    metadata = {name: values[name] for name in ("service", "model", "variant", "release", "provider") if values[name]}
    return {
        "id": f"{values['trace_id']}-{values['span_id']}",
        "input": prompt,
        "output": plain(answer),
        "expected": _expected(told),
        "scores": scores,
        "labels": labels,
        "metadata": {**metadata, "timestamp": _time(told), **_why(told)},
    }


def _raw(told: Told) -> Record:
    return {
        "timestamp": _time(told),
        **{name: told.values[name] for name in COLUMNS},
        "judgements": list(told.judgements),
        "feedback": list(told.feedback),
        **_why(told),
    }


_RECORDS: Final[Mapping[str, Callable[[Told], Record | None]]] = {"chat": _chat, "eval": _eval, "raw": _raw}


def _why(told: Told) -> dict[str, str]:
    if told.item is None:
        return {}
    return {"reason": told.item.reason, "note": told.item.note, "author": told.item.author}


def _time(told: Told) -> str:
    return told.timestamp.isoformat().replace("+00:00", "Z")


def _peoples(told: Told) -> list[Record]:
    """Verdicts of people and ground truth on `correct`, the one that counts last."""
    of = [each for each in told.judgements if each["name"] == "correct" and each["source"] in ("ground_truth", "human")]
    return sorted(of, key=lambda each: (each["source"] == "ground_truth", each["timestamp"]))


def _verdict(told: Told) -> str:
    for each in reversed(_peoples(told)):
        label, score = str(each["label"]).lower(), each["score"]
        if label in YES or label in NO:
            return "right" if label in YES else "wrong"
        if score is not None and 0 <= score <= 1:
            return "right" if score >= 0.5 else "wrong"
    return ""


def _expected(told: Told) -> str | None:
    """The right answer, where somebody said it: a label of `correct` that is no verdict."""
    classes = [str(each["label"]) for each in _peoples(told) if each["label"]]
    return next((label for label in reversed(classes) if label.lower() not in (*YES, *NO)), None)


def _writer(path: Path, kind: str) -> Callable[[Path, Iterator[list[Record]]], None]:
    name = path.name.lower()
    if not path.parent.is_dir():
        raise BadInput(f"there is no folder {path.parent}; make it, or choose another")
    if name.endswith(".parquet"):
        return lambda part, records: _write_parquet(part, records, kind)
    if name.endswith((".jsonl", ".jsonl.gz")):
        return lambda part, records: _write_lines(part, records, compressed=name.endswith(".gz"))
    raise BadInput(f"{path}: the name says the format; it must end in .jsonl, .jsonl.gz or .parquet")


def _write_lines(part: Path, blocks: Iterator[list[Record]], *, compressed: bool) -> None:
    # Prompts and answers are nobody else's business: readable by the user alone.
    with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as raw:
        file = gzip.GzipFile(fileobj=raw, mode="wb", mtime=0) if compressed else raw
        for block in blocks:
            file.write(
                "".join(json.dumps(each, ensure_ascii=False) + "\n" for each in block).encode("utf-8", "replace")
            )
        if compressed:
            file.close()


def _write_parquet(part: Path, blocks: Iterator[list[Record]], kind: str) -> None:
    import pyarrow
    import pyarrow.parquet

    schema = _schema(kind)
    with (
        open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file,
        pyarrow.parquet.ParquetWriter(file, schema, compression="zstd") as writer,
    ):
        for block in blocks:
            rows = [_flat(each, schema.names) for each in block]
            writer.write_table(pyarrow.Table.from_pylist(rows, schema=schema))


def _flat(record: Record, names: Sequence[str]) -> dict[str, Any]:
    """The record as columns; tool calls, which have any shape, as JSON text."""
    row = {name: record.get(name) for name in names}
    for key in ("messages", "input"):
        if key in row:
            row[key] = [
                {**each, "tool_calls": json.dumps(each["tool_calls"], ensure_ascii=False)}
                if "tool_calls" in each
                else each
                for each in row[key] or ()
            ]
    for key in ("cohorts", "scores", "labels", "metadata"):
        if key in row:
            row[key] = list((row[key] or {}).items())
    return row


def _schema(kind: str) -> Any:
    import pyarrow

    text, number, whole = pyarrow.string(), pyarrow.float64(), pyarrow.int64()
    messages = pyarrow.list_(
        pyarrow.struct([(name, text) for name in ("role", "content", "tool_calls", "tool_call_id")])
    )
    texts = pyarrow.map_(text, text)
    if kind == "chat":
        return pyarrow.schema([("messages", messages)])
    if kind == "eval":
        scores = pyarrow.map_(text, number)
        return pyarrow.schema(
            [("id", text), ("input", messages), ("output", text), ("expected", text), ("scores", scores), ("labels", texts),
             ("metadata", texts)]
        )  # fmt: skip
    said = ("timestamp", "name", "label", "source", "evaluator", "explanation")
    judgements = pyarrow.list_(pyarrow.struct([*((name, text) for name in said), ("score", number)]))
    feedback = pyarrow.list_(pyarrow.struct([(name, text) for name in ("timestamp", "kind", "value", "comment")]))
    kinds = {
        **dict.fromkeys(COLUMNS, text),
        **dict.fromkeys(("input_tokens", "cached_tokens", "output_tokens", "reasoning_tokens"), whole),
        **dict.fromkeys(("ttft_s", "queue_s", "tpot_s", "duration_s", "cost_usd", "sample_weight"), number),
        **dict.fromkeys(("cancelled", "simulated"), pyarrow.bool_()),
        "cohorts": texts,
    }
    return pyarrow.schema(
        [("timestamp", text), *kinds.items(), ("judgements", judgements), ("feedback", feedback),
         *((name, text) for name in ("reason", "note", "author"))]
    )  # fmt: skip
