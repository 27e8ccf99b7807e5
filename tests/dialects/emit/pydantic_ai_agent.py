"""A pydantic-ai agent with a tool, exported by logfire, which sends pending spans too."""

import os

# Else the same spans are sent twice.
del os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"]

import logfire
from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIChatModel

# With a token, and to a place of our own: what goes to logfire's servers, pending spans included.
logfire.configure(
    token="pylf_v1_us_none",
    service_name="recorded",
    console=False,
    advanced=logfire.AdvancedOptions(base_url=os.environ["RECORD_URL"]),
)
logfire.instrument_pydantic_ai()
agent = Agent(OpenAIChatModel("gpt-4o"), name="helper", model_settings={"temperature": 0.5})
agent.run_sync(os.environ["RECORD_QUESTION"])
logfire.force_flush()
logfire.shutdown()
