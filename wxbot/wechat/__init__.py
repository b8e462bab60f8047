"""The adapter to WeChat: pushes (encryption and formats), the API (access token and calls), and the HTTP client."""
