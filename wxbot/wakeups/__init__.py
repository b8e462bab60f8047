"""Wake-ups: notifications that a conversation has work."""
