"""Calls of the `openai` package, watched without a change to the code that makes them.

    pip install openai
    monitor up                                # in another terminal: prints grpc=… when it is ready
    python examples/server.py                 # in a third one, or any other server of OpenAI's protocol
    python examples/openai_client.py http://localhost:8000/v1 --model llama-3.1-8b

Where the calls are sent to is said by the first argument, where the spans go by `--endpoint` or
OTEL_EXPORTER_OTLP_ENDPOINT.
"""

from __future__ import annotations

import argparse
import asyncio

import openai

import monitor


def whole(client: openai.OpenAI, model: str) -> None:
    """Ask, and wait for the whole answer."""
    answer = client.chat.completions.create(
        model=model, messages=[{"role": "user", "content": "What is a token?"}], max_tokens=8
    )
    print(answer.choices[0].message.content)


def streamed(client: openai.OpenAI, model: str) -> None:
    """Print the answer as it comes."""
    stream = client.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": "Why is the sky blue?"}],
        max_tokens=12,
        stream=True,
        stream_options={"include_usage": True},
    )
    for chunk in stream:
        if chunk.choices:
            print(chunk.choices[0].delta.content or "", end="", flush=True)
    print()


async def at_once(client: openai.AsyncOpenAI, model: str, count: int) -> None:
    """Ask several questions at once, and stop reading one of the answers."""

    async def one(number: int) -> None:
        stream = await client.chat.completions.create(
            model=model,
            messages=[{"role": "user", "content": f"Tell me joke {number}."}],
            max_tokens=300 if number == 0 else 10,
            stream=True,
        )
        async with stream:
            async for _ in stream:
                if number == 0:
                    break  # recorded as cancelled, not as an error

    await asyncio.gather(*(one(number) for number in range(count)))


def refused(client: openai.OpenAI) -> None:
    """Ask for a model that is not there."""
    try:
        client.chat.completions.create(model="gpt-0", messages=[{"role": "user", "content": "?"}])
    except openai.APIStatusError as error:
        print(f"refused: {error.status_code}")


def main() -> None:
    """Make some calls of each kind, and tell what was sent."""
    parser = argparse.ArgumentParser(description="Send the spans of openai calls to a collector.")
    parser.add_argument("base_url", nargs="?", default="http://localhost:8000/v1", help="where the model is served")
    parser.add_argument("--model", default="llama-3.1-8b")
    parser.add_argument("--endpoint", help="OTLP address; default: OTEL_EXPORTER_OTLP_ENDPOINT, or localhost")
    parser.add_argument("--rounds", type=int, default=1, help="how often all of it is done (default 1)")
    options = parser.parse_args()

    monitor.init(service="chat-app", endpoint=options.endpoint)
    monitor.instrument_openai(
        propagate=True
    )  # so that a server that is watched too joins the trace: the call counts once

    client = openai.OpenAI(base_url=options.base_url, api_key="none", max_retries=0)

    async def several() -> None:
        async with openai.AsyncOpenAI(base_url=options.base_url, api_key="none", max_retries=0) as client:
            await at_once(client, options.model, count=3)

    for _ in range(options.rounds):
        whole(client, options.model)
        streamed(client, options.model)
        asyncio.run(several())
    refused(client)

    delivered = monitor.flush()
    stats = monitor.stats()
    print(f"{stats.exported} of {stats.ended} calls sent.")
    if not delivered:
        raise SystemExit("Not all calls could be sent; is a collector running (monitor up)?")


if __name__ == "__main__":
    main()
