"""Benchmarks of CPU per message, bursts and typing latency: ``python -m benchmarks``."""
