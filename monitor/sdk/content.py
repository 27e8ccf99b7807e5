"""Prompts and completions: in OpenTelemetry's shape, and how attributes that hold them are told from others.

The shape is `[{"role": …, "parts": [{"type": "text", …}]}]`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from monitor import semconv

# A string, or messages in OpenAI's form ({"role", "content"}) or in OpenTelemetry's ({"role", "parts"}).
Content = str | Mapping[str, Any] | Sequence[str | Mapping[str, Any]]


def messages_json(content: Content, *, role: str) -> str:
    """Write messages as JSON; `role` is that of a bare string.

    Examples
    --------
    >>> messages_json("Hello", role="user")
    '[{"role": "user", "parts": [{"type": "text", "content": "Hello"}]}]'
    """
    items = [content] if isinstance(content, str | Mapping) else content
    return json.dumps([_message(item, role) for item in items], ensure_ascii=False, default=str)


def _message(item: str | Mapping[str, Any], role: str) -> dict[str, Any]:
    if isinstance(item, str):
        return {"role": role, "parts": _parts(item)}
    rest = {key: value for key, value in item.items() if key in ("name", "finish_reason")}
    if "parts" in item:
        return {"role": item.get("role", role), "parts": item["parts"], **rest}
    parts = _parts(item.get("content")) + [_tool_call(call) for call in item.get("tool_calls") or ()]
    if item.get("role") == "tool":
        parts = [{"type": "tool_call_response", "id": item.get("tool_call_id"), "response": item.get("content")}]
    return {"role": item.get("role", role), "parts": parts, **rest}


def _parts(content: object) -> list[dict[str, Any]]:
    if content is None:
        return []
    if isinstance(content, str):
        return [{"type": "text", "content": content}]
    if isinstance(content, Sequence):
        return [part for item in content for part in _part(item)]
    return [{"type": "text", "content": str(content)}]


def _part(item: object) -> list[dict[str, Any]]:
    if not isinstance(item, Mapping):
        return _parts(item)
    if item.get("type") == "text":
        return [{"type": "text", "content": item.get("text", item.get("content", ""))}]
    if item.get("type") == "image_url":
        image = item.get("image_url")
        return [
            {
                "type": "uri",
                "modality": "image",
                "uri": image.get("url") if isinstance(image, Mapping) else image,
            }
        ]
    return [dict(item)]


def _tool_call(call: Mapping[str, Any]) -> dict[str, Any]:
    function = call.get("function") or call
    return {
        "type": "tool_call",
        "id": call.get("id"),
        "name": function.get("name"),
        "arguments": function.get("arguments"),
    }


_content = re.compile(semconv.CONTENT_KEYS)
_no_content = re.compile(semconv.NO_CONTENT_KEYS)
_event_content = re.compile(semconv.CONTENT_EVENT_KEYS)


# Keys are few, and looking one up costs a tenth of matching it.
@lru_cache(maxsize=4096)
def is_content(key: str) -> bool:
    """Whether an attribute of this name holds what was said."""
    return _content.match(key) is not None and _no_content.match(key) is None


@lru_cache(maxsize=4096)
def is_event_content(key: str) -> bool:
    """Whether an attribute of this name holds what was said, if it stands on an event."""
    return is_content(key) or _event_content.match(key) is not None
