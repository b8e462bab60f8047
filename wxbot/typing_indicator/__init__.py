"""The typing indicator: its rules, the object that drives them, and the port it needs."""
