"""Settings: their schema, the environment, and the accounts file."""
