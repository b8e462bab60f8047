"""How gunicorn runs wxbot. Command-line options and GUNICORN_CMD_ARGS win over what stands here."""

import os
import threading
import time
from typing import Any

from wxbot.errors import StoreUnavailable

bind = os.environ.get("WXBOT_BIND", "127.0.0.1:8000")
workers = int(os.environ.get("WEB_CONCURRENCY", "2"))
worker_class = "gthread"
threads = 8
control_socket_disable = True

# A stopping worker first finishes its handlers (WXBOT_DRAIN_SECONDS), so it needs longer than gunicorn's usual 30 s.
graceful_timeout = int(float(os.environ.get("WXBOT_DRAIN_SECONDS", "25"))) + 5
timeout = graceful_timeout + 10
START_PAUSE = 1.0


def post_worker_init(worker: Any) -> None:
    """Start answering at once: messages may be waiting from before a restart."""
    from wsgi import bot

    try:
        bot.start()
    except StoreUnavailable as error:
        if worker.age <= worker.cfg.workers:  # the first start: somebody is there to read why
            raise
        # A worker that fails here would make gunicorn end all the others. This one answers 500 until the store is back.
        worker.log.error("this worker answers nobody yet: %s", error)
        threading.Thread(target=_keep_starting, args=(bot, worker), daemon=True).start()


def _keep_starting(bot: Any, worker: Any) -> None:
    while worker.alive:
        time.sleep(START_PAUSE)
        try:
            bot.start()
        except StoreUnavailable:
            continue
        return


def worker_exit(server: Any, worker: Any) -> None:
    """Finish what is running and hand the rest back."""
    from wsgi import bot

    bot.stop()
