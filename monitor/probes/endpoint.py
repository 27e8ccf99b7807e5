"""Asks an OpenAI-compatible endpoint, many prompts at once.

Only the configured address is asked: no redirect is followed, no proxy of the environment is used, and nothing of an
answer is ever taken for an address. Each request carries a W3C `traceparent` whose sampled flag is off, so that services
behind the endpoint which sample by their parent, as OpenTelemetry does by default, record nothing of probes.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

import urllib3

from monitor.errors import Retryable
from monitor.settings import ProbeSettings

USER: Final = "monitor-probe"  # as OpenAI's field `user`, for those who look at requests behind the endpoint
TRIES: Final = 3
_AGAIN: Final = (408, 409, 429, 500, 502, 503, 504)


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What came of one prompt: `text` is None where nothing did, and `error` says why."""

    trace_id: str
    span_id: str
    text: str | None
    finish_reason: str = ""
    error: str = ""


def trace_of(*parts: object) -> tuple[str, str]:
    """Trace and span id of one prompt of one run: the same again for the same parts."""
    digest = hashlib.sha256("\x1f".join(str(part) for part in parts).encode()).hexdigest()
    return digest[:32], digest[32:48]


def ask(
    settings: ProbeSettings,
    prompts: Sequence[tuple[str, tuple[str, str]]],
    *,
    stop: threading.Event | None = None,
    on_reply: Callable[[int], None] = lambda done: None,
) -> list[Reply]:
    """Answers to all prompts, in their order.

    Parameters
    ----------
    settings : ProbeSettings
    prompts : sequence of (str, (str, str))
        Text, and trace and span id.
    stop : threading.Event, optional
        Once it is set, what is not under way is not asked.
    on_reply : callable
        Called with the number of replies so far.
    """
    stopped = stop or threading.Event()
    done = 0
    lock = threading.Lock()
    timeout = urllib3.Timeout(connect=min(10.0, settings.timeout_s), read=settings.timeout_s)
    with urllib3.PoolManager(maxsize=settings.concurrency, timeout=timeout, retries=False) as pool:

        def one(prompt: tuple[str, tuple[str, str]]) -> Reply:
            nonlocal done
            reply = _ask_one(pool, settings, *prompt, stopped)
            with lock:
                done += 1
                on_reply(done)
            return reply

        with ThreadPoolExecutor(settings.concurrency, thread_name_prefix="probe") as workers:
            return list(workers.map(one, prompts))


def _ask_one(
    pool: urllib3.PoolManager, settings: ProbeSettings, text: str, ids: tuple[str, str], stop: threading.Event
) -> Reply:
    trace_id, span_id = ids
    headers = {"content-type": "application/json", "traceparent": f"00-{trace_id}-{span_id}-00"}
    if token := settings.token.get_secret_value():
        headers["authorization"] = f"Bearer {token}"
    body = {
        "model": settings.model,
        "messages": [{"role": "user", "content": text}],
        "max_tokens": settings.max_tokens,
        "temperature": settings.temperature,
        "user": USER,
    }
    error = "not asked: the run was stopped"
    for tried in range(TRIES):
        if stop.is_set():
            break
        try:
            answer, reason = _post(pool, settings, headers, json.dumps(body).encode())
            return Reply(trace_id=trace_id, span_id=span_id, text=answer, finish_reason=reason)
        except Retryable as failure:
            error = str(failure)
            stop.wait(0.2 * 4**tried if tried < TRIES - 1 else 0)
        except (ValueError, urllib3.exceptions.HTTPError) as failure:
            error = str(failure) or type(failure).__name__
            break
    return Reply(trace_id=trace_id, span_id=span_id, text=None, error=error[:200])


def _post(pool: urllib3.PoolManager, settings: ProbeSettings, headers: dict[str, str], body: bytes) -> tuple[str, str]:
    until = time.monotonic() + settings.timeout_s
    try:
        response = pool.request(
            "POST", f"{settings.endpoint}/chat/completions", body=body, headers=headers, redirect=False,
            preload_content=False,
        )  # fmt: skip
    except urllib3.exceptions.HTTPError as error:
        raise Retryable(f"no answer: {type(error).__name__}") from None
    content = b""
    try:
        # Piece by piece: a server that sends a byte now and then must not keep us for ever.
        while len(content) <= settings.answer_bytes and (piece := response.read1(65_536, decode_content=True)):
            content += piece
            if time.monotonic() > until:
                raise Retryable(f"no whole answer within {settings.timeout_s:g} s")
    except urllib3.exceptions.HTTPError as error:
        raise Retryable(f"no whole answer: {type(error).__name__}") from None
    finally:
        response.close()  # one that was read to its end has given its connection back by now
    if response.status in _AGAIN:
        raise Retryable(f"HTTP {response.status}")
    if response.status != 200:
        raise ValueError(f"HTTP {response.status}")
    if len(content) > settings.answer_bytes:
        raise ValueError(f"the answer is longer than {settings.answer_bytes} bytes")
    return _answer(content)


def _answer(content: bytes) -> tuple[str, str]:
    try:
        choice: Any = json.loads(content)["choices"][0]
        message = choice["message"]
        # OpenAI's own field for an answer that its model declined.
        text = message.get("content") or message.get("refusal") or ""
        if isinstance(text, list):  # in parts
            text = "".join(str(part.get("text", "")) for part in text)
        reason = "refusal" if message.get("refusal") else str(choice.get("finish_reason") or "")
        return str(text), reason
    except (ValueError, LookupError, TypeError, AttributeError):
        raise ValueError("the answer is no chat completion") from None
