"""The typing indicator: its rules, the object that applies them, and the port that it needs."""
