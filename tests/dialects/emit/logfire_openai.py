"""logfire's own instrumentation of the OpenAI client, with pending spans."""

import os

# Else the same spans are sent twice.
del os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"]

import logfire
from openai import OpenAI

# With a token, and to a place of our own: what goes to logfire's servers, pending spans included.
logfire.configure(
    token="pylf_v1_us_none",
    service_name="recorded",
    console=False,
    advanced=logfire.AdvancedOptions(base_url=os.environ["RECORD_URL"]),
)
client = OpenAI()
logfire.instrument_openai(client)
messages = [{"role": "user", "content": os.environ["RECORD_QUESTION"]}]
client.chat.completions.create(model="m-1", messages=messages, temperature=0.5)
stream = client.chat.completions.create(
    model="m-1", messages=messages, stream=True, stream_options={"include_usage": True}
)
list(stream)
logfire.force_flush()
logfire.shutdown()
