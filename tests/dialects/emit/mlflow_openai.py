"""MLflow's autologging of the OpenAI client, exported over OTLP."""

import os

os.environ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"] = os.environ["RECORD_URL"] + "/v1/traces"
os.environ["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"] = "http/protobuf"
os.environ["MLFLOW_EXPERIMENT_ID"] = "0"
os.environ["MLFLOW_TRACKING_URI"] = os.environ["RECORD_URL"]

import mlflow
from openai import OpenAI

mlflow.openai.autolog()
client = OpenAI()
messages = [{"role": "user", "content": os.environ["RECORD_QUESTION"]}]


@mlflow.trace(span_type="CHAIN")
def request() -> None:
    mlflow.update_current_trace(metadata={"mlflow.trace.user": "u1", "mlflow.trace.session": "s1"})
    client.chat.completions.create(model="m-1", messages=messages, temperature=0.5)
    stream = client.chat.completions.create(
        model="m-1", messages=messages, stream=True, stream_options={"include_usage": True}
    )
    list(stream)
    client.embeddings.create(model="embed-1", input="words")


request()
try:
    client.chat.completions.create(model="fail", messages=messages)
except Exception as error:
    print(type(error).__name__)
mlflow.flush_trace_async_logging(terminate=True)
