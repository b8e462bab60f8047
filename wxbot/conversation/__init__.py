"""Conversations: from a stored message to its replies, in order, with one owner at a time."""
