"""A face for FakeWeChat: a bot under gunicorn and a platform on loopback, at the console and in a scripted demo."""
