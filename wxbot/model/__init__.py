"""Values without input or output: messages, replies, media, accounts, the quota and user actions."""
