"""The HTTP client for frequent calls: requests, connections, and the connection pool."""
