"""WeChat's API: tokens, sending, typing, media."""
