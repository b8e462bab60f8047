"""What a message costs, how a burst is taken, how fast Typing shows: ``python -m benchmarks``."""
