"""Delivery of replies: the channel, the turn of one message, and the outbox."""
