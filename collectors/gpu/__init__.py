"""GPU readings of one node, from NVML or a DCGM exporter's page, sent as OTLP metrics.

Runs on GPU nodes: it imports the standard library, OpenTelemetry's messages, grpc and nvidia-ml-py only.
"""
