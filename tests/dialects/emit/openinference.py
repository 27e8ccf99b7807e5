"""OpenInference's instrumentation of the OpenAI client."""

import os

from openai import OpenAI
from openinference.instrumentation.openai import OpenAIInstrumentor
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

provider = TracerProvider()
provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
trace.set_tracer_provider(provider)
OpenAIInstrumentor().instrument()

client = OpenAI()
messages = [{"role": "user", "content": os.environ["RECORD_QUESTION"]}]
client.chat.completions.create(model="m-1", messages=messages, temperature=0.5, max_tokens=50)
stream = client.chat.completions.create(
    model="m-1", messages=messages, stream=True, stream_options={"include_usage": True}
)
list(stream)
client.embeddings.create(model="embed-1", input="words")
try:
    client.chat.completions.create(model="fail", messages=messages)
except Exception as error:
    print(type(error).__name__)
provider.shutdown()
