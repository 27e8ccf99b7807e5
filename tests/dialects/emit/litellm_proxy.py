"""LiteLLM's proxy with the OpenTelemetry callback; calls come from OpenAI's client."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from openai import OpenAI

with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
Path("proxy.yaml").write_text(f"""
model_list:
  - model_name: gpt-4o
    litellm_params: {{model: openai/gpt-4o, api_base: {os.environ["OPENAI_BASE_URL"]}, api_key: none}}
  - model_name: broken
    litellm_params: {{model: openai/fail, api_base: {os.environ["OPENAI_BASE_URL"]}, api_key: none}}
litellm_settings: {{callbacks: [otel]}}
general_settings: {{master_key: sk-none}}
""")
environment = {**os.environ, "OTEL_EXPORTER": "otlp_http", "OTEL_ENDPOINT": os.environ["RECORD_URL"]}
command = [str(Path(sys.executable).parent / "litellm"), "--config", "proxy.yaml", "--port", str(port)]
proxy = subprocess.Popen(command, env=environment)
url = f"http://127.0.0.1:{port}"
for _ in range(240):
    try:
        urllib.request.urlopen(f"{url}/health/liveliness", timeout=2)
        break
    except OSError:
        time.sleep(0.5)

client = OpenAI(base_url=f"{url}/v1", api_key="sk-none", max_retries=0)
messages = [{"role": "user", "content": os.environ["RECORD_QUESTION"]}]
client.chat.completions.create(model="gpt-4o", messages=messages, user="u1")
time.sleep(1)
list(client.chat.completions.create(model="gpt-4o", messages=messages, stream=True))
time.sleep(1)
for model in ("none", "broken"):  # refused by the proxy, and by the provider
    try:
        client.chat.completions.create(model=model, messages=messages)
    except Exception as error:
        print(type(error).__name__)
    time.sleep(1)
time.sleep(8)
proxy.terminate()
proxy.wait(30)
