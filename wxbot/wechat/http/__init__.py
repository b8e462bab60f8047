"""The HTTP client of the hot path: connections, pool, requests."""
