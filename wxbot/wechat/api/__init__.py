"""Calls to WeChat's API: access token, sending, typing, media."""
