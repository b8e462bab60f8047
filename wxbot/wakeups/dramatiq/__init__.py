"""Wake-ups between machines: Dramatiq on Redis or RabbitMQ."""
