"""OpenLIT's instrumentation of the OpenAI client."""

import os

import openlit
from openai import OpenAI
from opentelemetry import trace

openlit.init(
    otlp_endpoint=os.environ["RECORD_URL"], environment="staging", application_name="recorded", disable_metrics=True
)
client = OpenAI()
messages = [{"role": "user", "content": os.environ["RECORD_QUESTION"]}]
client.chat.completions.create(model="gpt-4o", messages=messages, temperature=0.5, user="u1")
stream = client.chat.completions.create(
    model="gpt-4o", messages=messages, stream=True, stream_options={"include_usage": True}
)
list(stream)
client.embeddings.create(model="embed-1", input="words")
try:
    client.chat.completions.create(model="fail", messages=messages)
except Exception as error:
    print(type(error).__name__)
trace.get_tracer_provider().shutdown()
