"""How gunicorn runs wxbot. Command-line options and GUNICORN_CMD_ARGS win over what stands here."""

import os
from typing import Any

bind = os.environ.get("WXBOT_BIND", "127.0.0.1:8000")
workers = int(os.environ.get("WEB_CONCURRENCY", "2"))
worker_class = "gthread"
threads = 8
control_socket_disable = True

# A stopping worker first finishes its handlers (WXBOT_DRAIN_SECONDS), so it needs longer than gunicorn's usual 30 s.
graceful_timeout = int(float(os.environ.get("WXBOT_DRAIN_SECONDS", "25"))) + 5
timeout = graceful_timeout + 10


def post_worker_init(worker: Any) -> None:
    """Start answering at once: messages may be waiting from before a restart."""
    from wsgi import bot

    bot.start()


def worker_exit(server: Any, worker: Any) -> None:
    """Finish what is running and hand the rest back."""
    from wsgi import bot

    bot.stop()
