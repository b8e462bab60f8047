"""The server: HTTP entry points, the bots of all accounts, and their assembly from settings."""
