"""The version of wxbot (semantic versioning, see CHANGELOG.md)."""

__version__ = "0.1.0"
