"""Messages as OTLP/JSON has them."""

from __future__ import annotations

import base64
from typing import Any

from google.protobuf import json_format
from google.protobuf.message import Message

IDS = {"traceId", "spanId", "parentSpanId"}


def hexadecimal(value: Any) -> Any:
    """Protobuf JSON as OTLP/JSON: ids in hexadecimal."""
    if isinstance(value, list):
        return [hexadecimal(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        key: base64.b64decode(item).hex().upper() if key in IDS and isinstance(item, str) else hexadecimal(item)
        for key, item in value.items()
    }


def otlp_json(message: Message) -> Any:
    return hexadecimal(json_format.MessageToDict(message, use_integers_for_enums=True))
