"""Dispatcher: from an accepted message to its replies, in order, one owner at a time."""
