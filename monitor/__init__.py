"""Inference Monitor: know how your language models do.

`import monitor` gives the SDK and nothing heavier than opentelemetry-sdk.
"""
