"""Prompts and answers, however an emitter wrote them, as chat messages.

A prompt may be a plain text, a JSON list of messages with `content` (OpenAI), the same with `parts` (OpenTelemetry), or an
object that has such a list as `messages`. What is none of these is a text, said by the user.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

ROLES: Final = ("system", "developer", "user", "assistant", "tool")
Message = dict[str, Any]


def prompt_messages(text: str) -> list[Message]:
    """The prompt as messages; none if it is empty."""
    return _messages(text, "user")


def answer_message(text: str) -> Message | None:
    """The answer as one message of the assistant; None if it is empty. Of several choices the first counts."""
    found = _messages(text, "assistant")
    return {**found[0], "role": "assistant"} if found else None


def plain(message: Mapping[str, Any]) -> str:
    """What a message says, without its tool calls."""
    return str(message.get("content") or "")


def _messages(text: str, role: str) -> list[Message]:
    if not text.strip():
        return []
    value = _parsed(text)
    if isinstance(value, dict):
        value = value.get("messages", value.get("choices", [value] if _is_message(value) else None))
    if isinstance(value, list) and value and all(isinstance(each, dict) for each in value):
        # A choice of a completion holds its message.
        given = [each.get("message", each) if "content" not in each else each for each in value]
        if all(isinstance(each, dict) and _is_message(each) for each in given):
            return [_message(each, role) for each in given]
    return [{"role": role, "content": text}]


def _parsed(text: str) -> Any:
    if text.lstrip()[:1] not in ("[", "{"):
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _is_message(value: Mapping[str, Any]) -> bool:
    return "role" in value and any(key in value for key in ("content", "parts", "tool_calls"))


def _message(value: Mapping[str, Any], role: str) -> Message:
    said = str(value.get("role") or role)
    role = said if said in ROLES else {"human": "user", "ai": "assistant", "model": "assistant"}.get(said, role)
    parts = value.get("parts", value.get("content"))
    if not isinstance(parts, list):
        message: Message = {"role": role, "content": parts if isinstance(parts, str) else _text(parts)}
        calls = value.get("tool_calls")
        if isinstance(calls, list) and calls:
            message["tool_calls"] = calls
        return _with_ids(message, value)
    texts, tools = [], []
    for part in parts:
        kind = part.get("type", "text") if isinstance(part, dict) else "text"
        if kind == "tool_call":
            tools.append(_tool_call(part))
        elif kind == "tool_call_response":
            # Its answer is a message of its own role, with the id of the call.
            return {"role": "tool", "content": _text(part.get("response", part.get("result"))), **_id(part.get("id"))}
        elif isinstance(part, dict):
            texts.append(_text(part.get("content", part.get("text"))))
        else:
            texts.append(_text(part))
    message = {"role": role, "content": "\n".join(text for text in texts if text)}
    if tools:
        message["tool_calls"] = tools
    return _with_ids(message, value)


def _tool_call(part: Mapping[str, Any]) -> dict[str, Any]:
    arguments = part.get("arguments")
    text = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
    return {
        "id": str(part.get("id") or ""),
        "type": "function",
        "function": {"name": str(part.get("name") or ""), "arguments": text},
    }


def _with_ids(message: Message, value: Mapping[str, Any]) -> Message:
    return {**message, **_id(value.get("tool_call_id"))}


def _id(value: Any) -> dict[str, str]:
    return {"tool_call_id": str(value)} if value else {}


def _text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
