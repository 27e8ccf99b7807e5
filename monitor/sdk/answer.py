"""What a model's answer says of itself, read from it as a whole or chunk by chunk.

Reads what speaks OpenAI's protocol (chat completions, completions, embeddings, responses), and the `/generate` of
vLLM, SGLang and TGI. Takes JSON objects as well as the objects of the `openai` package. What is not there, or has
another shape than expected, stays unknown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from monitor import semconv
from monitor.sdk.content import messages_json

MAX_TEXT_CHARS: Final = 1 << 20

# Where a delta of a chat completion holds output. Reasoning is spelled differently by different engines.
_DELTA_TEXTS: Final = ("content", "refusal", "reasoning_content", "reasoning")
_DELTA_PARTS: Final = ("tool_calls", "function_call", "audio")
_NOTHING: Final[dict[str, Any]] = {}
_ENDS: Final = ("response.completed", "response.incomplete", "response.failed")


class Answer:
    """Facts of one answer, gathered while it passes.

    Attributes
    ----------
    chunks : int
        Chunks with output so far.
    whole : bool
        Whether the answer has said that it is complete.
    error : str
        Error that the answer itself tells of; empty if none.
    """

    def __init__(self, *, choices: int = 1, capture: bool = False) -> None:
        self.chunks = 0
        self.whole = False
        self.error = ""
        self._choices = choices
        self._capture = capture
        self._known: dict[str, Any] = {}
        self._reasons: dict[int, str] = {}
        self._texts: dict[int, list[str]] = {}
        self._tools: dict[int, dict[int, dict[str, str]]] = {}
        self._size = 0
        self._items: list[Any] = []

    def read(self, document: object) -> None:
        """Take an answer that is there as a whole."""
        self._head(document)
        for number, choice in enumerate(_list(document, "choices")):
            self._reason(_get(choice, "index", number), _get(choice, "finish_reason"))
            if self._capture:
                self._items.append(_get(choice, "message") or {"role": "assistant", "content": _get(choice, "text")})
        if self._capture:
            self._items += _list(document, "output")
            text = _get(document, "text", _get(document, "generated_text"))
            self._items += text if isinstance(text, list) else [text] if isinstance(text, str) else []
        self.whole = True

    def chunk(self, chunk: object) -> bool:
        """Take one chunk of a stream; True if there is output in it."""
        chunk = _fields(chunk)
        self._head(chunk)
        kind = _get(chunk, "type")
        is_event = isinstance(kind, str) and "choices" not in _keys(chunk)
        found = self._event(str(kind), chunk) if is_event else self._chunk(chunk)
        self.chunks += found
        return found

    def finished(self) -> None:
        """Say that the stream has ended as streams do."""
        self.whole = True

    def attributes(self, *, estimate: bool) -> dict[str, Any]:
        """What became known, by OpenTelemetry's names; tokens are estimated from chunks if asked and not told."""
        known = dict(self._known)
        if self._reasons:
            known[semconv.FINISH_REASONS] = tuple(self._reasons[number] for number in sorted(self._reasons))
        if estimate and self.chunks and semconv.OUTPUT_TOKENS not in known:
            known[semconv.OUTPUT_TOKENS] = self.chunks
            known[semconv.TOKENS_ESTIMATED] = True
        if self._capture and (messages := self._messages()):
            known[semconv.OUTPUT_MESSAGES] = messages_json(messages, role="assistant")
        return known

    def _head(self, document: object) -> None:
        """What whole answers and chunks have in common."""
        document = _fields(document)
        self._text(semconv.RESPONSE_MODEL, _get(document, "model"))
        self._text(semconv.RESPONSE_ID, _get(document, "id"))
        self._usage(_get(document, "usage"))
        self._meta(_get(document, "meta_info"))
        if (details := _get(document, "details")) is not None:
            self._count(semconv.OUTPUT_TOKENS, _get(details, "generated_tokens"))
            self._reason(0, _get(details, "finish_reason"))
        if "output" in _keys(document) and (status := _get(document, "status")):
            self._status(status, document)
        error = _get(document, "error")
        if error:
            self._failed(error)

    def _usage(self, usage: object) -> None:
        if usage is None:
            return
        for prefix, total in (("prompt", semconv.INPUT_TOKENS), ("input", semconv.INPUT_TOKENS)):
            self._count(total, _get(usage, f"{prefix}_tokens"))
            details = _get(usage, f"{prefix}_tokens_details")
            self._count(semconv.CACHED_TOKENS, _get(details, "cached_tokens"))
            self._count(semconv.CACHE_WRITE_TOKENS, _get(details, "cache_write_tokens"))
        self._count(semconv.CACHED_TOKENS, _get(usage, "prompt_cache_hit_tokens"))
        for prefix in ("completion", "output"):
            self._count(semconv.OUTPUT_TOKENS, _get(usage, f"{prefix}_tokens"))
            details = _get(usage, f"{prefix}_tokens_details")
            self._count(semconv.REASONING_TOKENS, _get(details, "reasoning_tokens"))

    def _meta(self, meta: object) -> None:
        """SGLang's own API."""
        if meta is None:
            return
        self._text(semconv.RESPONSE_ID, _get(meta, "id"))
        self._count(semconv.INPUT_TOKENS, _get(meta, "prompt_tokens"))
        self._count(semconv.OUTPUT_TOKENS, _get(meta, "completion_tokens"))
        self._count(semconv.CACHED_TOKENS, _get(meta, "cached_tokens"))
        reason = _get(meta, "finish_reason")
        self._reason(0, reason if isinstance(reason, str) else _get(reason, "type"))

    def _status(self, status: object, response: object) -> None:
        """Of an answer of the responses API."""
        if status == "completed":
            self._reason(0, "stop")
        elif status == "incomplete":
            why = _get(_get(response, "incomplete_details"), "reason")
            self._reason(0, "length" if why == "max_output_tokens" else why)
        elif status == "failed" and not self.error:
            self._failed(_get(response, "error"))

    def _event(self, kind: str, event: object) -> bool:
        """One event of the responses API."""
        response = _get(event, "response")
        if response is not None:
            self._head(response)
        if kind in _ENDS:
            self.whole = True
            if self._capture:
                self._items = _list(response, "output") or self._items
        elif kind == "error":
            self._failed(event)
        elif kind.endswith(".delta"):
            delta = _get(event, "delta")
            if kind in ("response.output_text.delta", "response.refusal.delta"):
                self._said(_get(event, "output_index", 0), delta)
            return bool(delta)
        return False

    def _chunk(self, chunk: object) -> bool:
        found = False
        for number, choice in enumerate(map(_fields, _list(chunk, "choices"))):
            index = _get(choice, "index", number)
            self._reason(index, _get(choice, "finish_reason"))
            found |= self._said(index, _get(choice, "text"))
            delta = _fields(_get(choice, "delta"))
            for name in _DELTA_TEXTS:
                text = _get(delta, name)
                # Reasoning is output, but not what was answered.
                found |= self._said(index, text) if name in ("content", "refusal") else bool(text)
            found |= any(_get(delta, name) for name in _DELTA_PARTS)
            if self._capture:
                self._called(index, _list(delta, "tool_calls"))
        token = _get(chunk, "token")  # TGI
        if token is not None:
            found |= self._said(0, _get(token, "text"))
        elif "choices" not in _keys(chunk):
            # vLLM's and SGLang's `/generate` send all the text so far with each chunk; Ollama's `/api` a message.
            text = _get(chunk, "text", _get(chunk, "response", _get(_get(chunk, "message"), "content")))
            found |= bool(text)
            if self._capture and isinstance(text, str):
                self._texts[0] = [text[:MAX_TEXT_CHARS]]
        if self._reasons and len(self._reasons) >= self._choices:
            self.whole = True
        return found

    def _said(self, index: Any, text: object) -> bool:
        if self._capture and isinstance(text, str) and text and self._size < MAX_TEXT_CHARS:
            self._size += len(text)
            self._texts.setdefault(index, []).append(text)
        return bool(text)

    def _called(self, index: Any, calls: Sequence[Any]) -> None:
        for number, call in enumerate(calls):
            tools = self._tools.setdefault(index, {})
            known = tools.setdefault(_get(call, "index", number), {"id": "", "name": "", "arguments": ""})
            function = _get(call, "function")
            for name, text in (
                ("id", _get(call, "id")),
                ("name", _get(function, "name")),
                ("arguments", _get(function, "arguments")),
            ):
                if isinstance(text, str) and self._size < MAX_TEXT_CHARS:
                    self._size += len(text)
                    known[name] += text

    def _messages(self) -> list[Any]:
        if self._items:
            return messages(self._items)
        found = []
        for index in sorted({*self._texts, *self._tools}):
            said = "".join(self._texts.get(index, ()))
            tools = [call for _, call in sorted(self._tools.get(index, {}).items())]
            found.append({"role": "assistant", "content": said or None, "tool_calls": tools})
        return found

    def _reason(self, index: Any, reason: object) -> None:
        if isinstance(reason, str) and reason:
            self._reasons[int(index) if isinstance(index, int) else 0] = reason

    def _failed(self, error: object) -> None:
        code = error if isinstance(error, str) else _get(error, "code") or _get(error, "type")
        self.error = str(code) if isinstance(code, str | int) and code and len(str(code)) < 100 else "error"

    def _text(self, name: str, value: object) -> None:
        if isinstance(value, str) and value:
            self._known[name] = value

    def _count(self, name: str, value: object) -> None:
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            self._known[name] = value


def prompt_of(body: Mapping[str, Any]) -> list[Any]:
    """Messages of a request, of whichever of the APIs."""
    given = body.get("messages", body.get("input", body.get("prompt", body.get("text", body.get("inputs")))))
    found = messages(given if isinstance(given, list) else [given] if given is not None else [])
    instructions = body.get("instructions")
    return [{"role": "system", "content": instructions}, *found] if isinstance(instructions, str) else found


def request_attributes(body: Mapping[str, Any]) -> dict[str, Any]:
    """What a request asks for, by OpenTelemetry's names."""
    known: dict[str, Any] = {}
    for key in ("max_completion_tokens", "max_output_tokens", "max_tokens"):
        value = body.get(key)
        if isinstance(value, int) and not isinstance(value, bool):
            known.setdefault(semconv.REQUEST_MAX_TOKENS, value)
    for key, name in (("temperature", semconv.REQUEST_TEMPERATURE), ("top_p", semconv.REQUEST_TOP_P)):
        value = body.get(key)
        if isinstance(value, int | float) and not isinstance(value, bool):
            known[name] = float(value)
    for key in ("safety_identifier", "user"):
        value = body.get(key)
        if isinstance(value, str) and value:
            known.setdefault(semconv.USER_ID, value)
    conversation = body.get("conversation")
    value = conversation.get("id") if isinstance(conversation, Mapping) else conversation
    if isinstance(value, str) and value:
        known[semconv.CONVERSATION_ID] = known[semconv.SESSION_ID] = value
    return known


def choices_of(body: Mapping[str, Any]) -> int:
    """How many answers a request asks for."""
    wanted = body.get("n")
    return wanted if isinstance(wanted, int) and wanted > 0 else 1


def messages(items: Sequence[Any]) -> list[Any]:
    """Messages and items of any of the APIs in a form that `messages_json` reads."""
    return [_message(item) for item in items]


def _message(item: object) -> Any:
    dump = getattr(item, "model_dump", None)
    if dump is not None:
        item = dump(exclude_none=True)
    if not isinstance(item, Mapping):
        return item if isinstance(item, str) else str(item)
    kind = item.get("type")
    if kind == "function_call":
        return {"role": "assistant", "tool_calls": [{**item, "id": item.get("call_id")}]}
    if kind == "function_call_output":
        return {"role": "tool", "tool_call_id": item.get("call_id"), "content": item.get("output")}
    if kind == "reasoning":
        return {"role": "assistant", "content": [{"type": "reasoning", "content": item.get("summary")}]}
    content = item.get("content")
    if isinstance(content, list):
        return {**item, "content": [_part(part) for part in content]}
    return item


def _part(part: object) -> Any:
    if isinstance(part, Mapping) and part.get("type") in ("input_text", "output_text"):
        return {"type": "text", "text": part.get("text")}
    return part


def _get(thing: Any, name: str, default: Any = None) -> Any:
    fields = thing if isinstance(thing, dict) else _fields(thing)
    # First what is so nearly always: whether something is a Mapping takes ten times as long to find out.
    is_mapping = isinstance(fields, dict) or isinstance(fields, Mapping)  # noqa: SIM101
    value = fields.get(name) if is_mapping else getattr(fields, name, None)
    return default if value is None else value


def _fields(thing: Any) -> Any:
    """What can be asked for its fields at the least cost: the dict of a pydantic model, else the thing itself.

    To ask a model for a field that it does not have costs it an exception, and a chunk is asked for twenty.
    """
    if thing is None:
        return _NOTHING
    if isinstance(thing, dict):
        return thing
    extra = getattr(thing, "__pydantic_extra__", _NOTHING)
    if extra is _NOTHING:
        return thing
    return {**thing.__dict__, **extra} if extra else thing.__dict__


def _list(thing: object, name: str) -> list[Any]:
    value = _get(thing, name)
    return list(value) if isinstance(value, list | tuple) else []


def _keys(thing: object) -> Any:
    return thing if isinstance(thing, dict | Mapping) else getattr(thing, "__dict__", ())
