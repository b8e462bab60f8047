"""The shared store: Redis or Valkey."""
