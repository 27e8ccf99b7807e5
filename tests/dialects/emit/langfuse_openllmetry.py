"""Langfuse's drop-in OpenAI client while OpenLLMetry instruments the OpenAI client too: each call is reported twice."""

import os

os.environ["LANGFUSE_PUBLIC_KEY"] = "pk-none"
os.environ["LANGFUSE_SECRET_KEY"] = "sk-none"
os.environ["LANGFUSE_HOST"] = os.environ["LANGFUSE_BASE_URL"] = os.environ["RECORD_URL"]

from langfuse import get_client
from langfuse.openai import OpenAI
from opentelemetry.instrumentation.openai import OpenAIInstrumentor

OpenAIInstrumentor().instrument()
langfuse = get_client()
client = OpenAI()
messages = [{"role": "user", "content": os.environ["RECORD_QUESTION"]}]
with langfuse.start_as_current_observation(as_type="span", name="request"):
    client.chat.completions.create(name="plain", model="m-1", messages=messages, temperature=0.5)
    stream = client.chat.completions.create(
        name="streamed", model="m-1", messages=messages, stream=True, stream_options={"include_usage": True}
    )
    list(stream)
    try:
        client.chat.completions.create(name="failed", model="fail", messages=messages)
    except Exception as error:
        print(type(error).__name__)
langfuse.flush()
langfuse.shutdown()
