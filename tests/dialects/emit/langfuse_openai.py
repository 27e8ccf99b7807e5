"""Langfuse's drop-in OpenAI client under a trace with user and session, and a generation made by hand."""

import os

os.environ["LANGFUSE_PUBLIC_KEY"] = "pk-none"
os.environ["LANGFUSE_SECRET_KEY"] = "sk-none"
os.environ["LANGFUSE_HOST"] = os.environ["LANGFUSE_BASE_URL"] = os.environ["RECORD_URL"]
os.environ["LANGFUSE_TRACING_ENVIRONMENT"] = "staging"
os.environ["LANGFUSE_RELEASE"] = "r7"

from langfuse import get_client, propagate_attributes
from langfuse.openai import OpenAI

langfuse = get_client()
client = OpenAI()
messages = [{"role": "user", "content": os.environ["RECORD_QUESTION"]}]
with langfuse.start_as_current_observation(as_type="span", name="request"):
    with propagate_attributes(user_id="u1", session_id="s1"):
        client.chat.completions.create(name="plain", model="m-1", messages=messages, temperature=0.5)
        stream = client.chat.completions.create(
            name="streamed", model="m-1", messages=messages, stream=True, stream_options={"include_usage": True}
        )
        list(stream)
        try:
            client.chat.completions.create(name="failed", model="fail", messages=messages)
        except Exception as error:
            print(type(error).__name__)
        with langfuse.start_as_current_observation(as_type="generation", name="by hand", model="own") as generation:
            generation.update(
                output="fine",
                usage_details={"input": 11, "output": 3, "cache_read_input_tokens": 20},
                cost_details={"input": 0.001, "output": 0.002, "total": 0.003},
            )
langfuse.flush()
langfuse.shutdown()
