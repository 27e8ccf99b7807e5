"""Reads a model's answer from the bytes of an HTTP body as they pass, in bounded memory."""

from __future__ import annotations

import json
import re
from typing import Any, Final

from monitor.sdk.answer import Answer

MAX_BYTES: Final = 1 << 20
_TAIL_BYTES: Final = 1 << 14
_LINE_END: Final = re.compile(rb"\r\n|\n|\r(?!$)")


class Body:
    """One body, fed piece by piece.

    A stream of events (`text/event-stream`, or a JSON object a line) is read event by event and forgotten; a JSON
    document is kept until its end if it is no longer than `limit` bytes. Of a longer one only the end is kept: that is
    where usage is.
    """

    def __init__(self, answer: Answer, content_type: str, *, encoding: str = "", limit: int = MAX_BYTES) -> None:
        kind = content_type.partition(";")[0].strip().lower()
        self._answer = answer
        self._limit = limit
        self.streamed = kind in ("text/event-stream", "application/x-ndjson", "application/jsonl", "application/ndjson")
        self._sse = kind == "text/event-stream"
        self._json = kind == "application/json" or kind.endswith("+json")
        # Compressed bytes tell nothing but their times.
        self.readable = (self.streamed or self._json) and encoding.strip().lower() in ("", "identity")
        self._rest = b""
        self._data: list[bytes] = []
        self._size = 0
        self._kept = bytearray()
        self._cut = False
        self._skipping = False

    def feed(self, piece: bytes) -> bool:
        """Take the next bytes; True if there is output of a stream in them."""
        if not piece:
            return False
        if not self.readable:
            return True
        if not self.streamed:
            self._keep(piece)
            return False
        lines = _LINE_END.split(self._rest + piece)
        self._rest = lines.pop()
        if len(self._rest) > self._limit:
            # No event of a language model is that long.
            self._rest, self._skipping, self._data = b"", True, []
        found = False
        for line in lines:
            found |= self._line(line)
        return found

    def end(self) -> None:
        """The body is complete."""
        if self.readable and self.streamed:
            self._line(self._rest)
            self._line(b"")
            self._rest = b""
            self._answer.finished()
        elif self.readable:
            self._read_kept()

    def _line(self, line: bytes) -> bool:
        if self._skipping:
            self._skipping = False
            return False
        if not self._sse:
            return self._event(line)
        if line.startswith(b"data:"):
            self._size += len(line)
            if self._size <= self._limit:
                self._data.append(line[5:].strip())
            return False
        if line or not self._data:
            return False
        data, self._data, self._size = b"\n".join(self._data), [], 0
        return self._event(data)

    def _event(self, data: bytes) -> bool:
        if not data.strip():
            return False
        if data.startswith(b"[DONE]"):
            self._answer.finished()
            return False
        found = _parsed(data)
        return isinstance(found, dict) and self._answer.chunk(found)

    def _keep(self, piece: bytes) -> None:
        self._kept += piece
        if len(self._kept) > self._limit:
            self._cut = True
            del self._kept[:-_TAIL_BYTES]

    def _read_kept(self) -> None:
        found: Any = _tail(bytes(self._kept)) if self._cut else _parsed(bytes(self._kept))
        self._kept.clear()
        if isinstance(found, dict):
            self._answer.read(found)
        elif isinstance(found, list) and len(found) == 1 and isinstance(found[0], dict):
            self._answer.read(found[0])


def _parsed(data: bytes) -> Any:
    try:
        return json.loads(data)
    except ValueError:
        return None
    except RecursionError:
        return None


def _tail(data: bytes) -> Any:
    """Usage and model at the end of a document that was too long to be kept."""
    text = data.decode("utf-8", "replace")
    found: dict[str, Any] = {}
    for name, opens in (("usage", "{"), ("model", '"')):
        hits = list(re.finditer(rf'"{name}"\s*:\s*(?={opens})', text))
        if hits:
            try:
                found[name] = json.JSONDecoder().raw_decode(text, hits[-1].end())[0]
            except (ValueError, RecursionError):
                continue
    return found
