"""LiteLLM's OpenTelemetry callback, as a library."""

import os
import time

os.environ["OTEL_EXPORTER"] = "otlp_http"
os.environ["OTEL_ENDPOINT"] = os.environ["RECORD_URL"]

import litellm
from opentelemetry import trace

litellm.callbacks = ["otel"]
litellm.cache = litellm.Cache(type="local")
messages = [{"role": "user", "content": os.environ["RECORD_QUESTION"]}]
given = {"model": "openai/gpt-4o", "messages": messages, "api_base": os.environ["OPENAI_BASE_URL"], "api_key": "none"}
litellm.completion(**given, temperature=0.5, user="u1")
time.sleep(1)
litellm.completion(**given, temperature=0.5, user="u1", caching=True)
time.sleep(1)
litellm.completion(**given, temperature=0.5, user="u1", caching=True)
time.sleep(1)
list(litellm.completion(**given, stream=True, stream_options={"include_usage": True}))
time.sleep(1)
litellm.embedding(model="openai/embed-1", input=["words"], api_base=os.environ["OPENAI_BASE_URL"], api_key="none")
time.sleep(1)
try:
    litellm.completion(**{**given, "model": "openai/fail"}, num_retries=0)
except Exception as error:
    print(type(error).__name__)
time.sleep(2)
provider = trace.get_tracer_provider()
for callback in litellm.callbacks:
    provider = getattr(callback, "tracer_provider", provider) or provider
if hasattr(provider, "force_flush"):
    provider.force_flush()
time.sleep(6)
