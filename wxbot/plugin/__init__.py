"""Plugins: their registration, the context of a handler, the router, and discovery."""
