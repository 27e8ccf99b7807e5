"""Replay of recorded workloads as real OTLP traffic, and the traffic of the demo."""
