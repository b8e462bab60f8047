"""The durable store: its port and records, and the adapters for SQLite and Redis."""
