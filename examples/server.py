"""A server that speaks OpenAI's protocol, streams from a small fake engine, and is watched by one line.

    pip install fastapi uvicorn
    monitor up                                # in another terminal: prints grpc=… when it is ready
    python examples/server.py --port 8000     # sends to http://localhost:4317
    python examples/openai_client.py http://localhost:8000/v1

The middleware makes one inference of each request. What it cannot see from outside, the handler tells it:
`monitor.current_call()`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import time
import uuid
from collections.abc import AsyncIterator
from typing import Any

import uvicorn
from fastapi import FastAPI
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BaseModel

import monitor

MODELS = ("llama-3.1-8b", "llama-3.1-70b")
PACE = 1.0

app = FastAPI(title="An engine that knows nothing")
app.add_middleware(monitor.ASGIMiddleware, provider="fake")


class ChatRequest(BaseModel):
    """The part of OpenAI's chat request that the engine knows."""

    model: str
    messages: list[dict[str, Any]]
    max_tokens: int = 24
    stream: bool = False
    stream_options: dict[str, Any] | None = None


async def generate(tokens: int) -> AsyncIterator[str]:
    """Yield words at a believable pace, the first after a while."""
    await asyncio.sleep(random.lognormvariate(-3.0, 0.4) * PACE)
    for number in range(tokens):
        yield f"word{number} "
        await asyncio.sleep(random.lognormvariate(-4.6, 0.3) * PACE)


@app.post("/v1/chat/completions")
async def chat(request: ChatRequest) -> Any:
    """Answer as a whole, or word by word."""
    if request.model not in MODELS:
        error = {"code": "model_not_found", "message": f"there is no {request.model}"}
        return JSONResponse({"error": error}, status_code=404)
    call = monitor.current_call()
    with call.step("queue") as step:
        began = time.perf_counter()
        await asyncio.sleep(0.002 * PACE)
        waited_s = time.perf_counter() - began
        step.set(length=1)
    call.finish(queue_s=waited_s)

    about = {"id": f"chatcmpl-{uuid.uuid4().hex}", "created": int(time.time()), "model": request.model}
    prompt_tokens = sum(len(str(message.get("content")).split()) for message in request.messages)
    usage = {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": request.max_tokens,
        "total_tokens": prompt_tokens + request.max_tokens,
    }
    if request.stream:
        tell_usage = bool((request.stream_options or {}).get("include_usage"))
        body = events(about, request.max_tokens, usage if tell_usage else None)
        return StreamingResponse(body, media_type="text/event-stream")
    text = "".join([word async for word in generate(request.max_tokens)])
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "length"}
    return {**about, "object": "chat.completion", "choices": [choice], "usage": usage}


async def events(about: dict[str, Any], tokens: int, usage: dict[str, int] | None) -> AsyncIterator[str]:
    """Write the answer as server-sent events."""

    def event(choices: list[dict[str, Any]], **fields: Any) -> str:
        chunk = {**about, "object": "chat.completion.chunk", "choices": choices, **fields}
        return f"data: {json.dumps(chunk)}\n\n"

    async for word in generate(tokens):
        yield event([{"index": 0, "delta": {"content": word}, "finish_reason": None}])
    yield event([{"index": 0, "delta": {}, "finish_reason": "length"}])
    if usage is not None:
        yield event([], usage=usage)
    yield "data: [DONE]\n\n"


def main() -> None:
    """Serve until Ctrl-C."""
    parser = argparse.ArgumentParser(description="Serve a fake model over OpenAI's protocol.")
    parser.add_argument("--endpoint", help="OTLP address; default: OTEL_EXPORTER_OTLP_ENDPOINT, or localhost")
    parser.add_argument("--port", type=int, default=8000, help="where to listen (default 8000)")
    parser.add_argument("--pace", type=float, default=1.0, help="1 is lifelike, 0 does not wait at all")
    options = parser.parse_args()

    global PACE
    PACE = options.pace
    monitor.init(
        service="fake-engine", endpoint=options.endpoint, node="gpu-1", deployment="on_premises", variant="fp16"
    )
    uvicorn.run(app, host="127.0.0.1", port=options.port, log_level="warning")


if __name__ == "__main__":
    main()
