"""Hints between machines: Dramatiq on Redis or RabbitMQ."""
