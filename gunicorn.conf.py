"""gunicorn's settings for wxbot. Command-line options and GUNICORN_CMD_ARGS override this file."""

import gc
import os
import threading
import time
from typing import Any

from dotenv import load_dotenv

load_dotenv(".env")  # variables of the environment override the file

bind = os.environ.get("WXBOT_BIND", "127.0.0.1:8000")
workers = int(os.environ.get("WEB_CONCURRENCY", "2"))
worker_class = "gthread"
# A push to an unverified account occupies its thread until the reply is ready, for up to 5 seconds.
threads = 64 if os.environ.get("WXBOT_ACCOUNT_KIND") == "unverified" else 8
control_socket_disable = True

# A stopping worker finishes its handlers (WXBOT_DRAIN_SECONDS) and then a send in progress (WXBOT_API_TIMEOUT).
_drain = float(os.environ.get("WXBOT_DRAIN_SECONDS", "25")) + float(os.environ.get("WXBOT_API_TIMEOUT", "10"))
graceful_timeout = int(_drain) + 5
timeout = graceful_timeout + 10
START_PAUSE = 1.0
"""Wait between two attempts to start, in seconds."""


def post_worker_init(worker: Any) -> None:
    """Start processing at once, because messages from before a restart may be in the inbox."""
    # Imported in the worker, because modules that the master imports would not be reloaded.
    from wsgi import deployment
    from wxbot.errors import StoreUnavailable

    # Imported objects live as long as the worker. The garbage collector need not check them.
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 50, 100)
    try:
        deployment.start()
    except StoreUnavailable as error:
        if worker.age <= worker.cfg.workers:  # at the first start the operator reads the error
            raise
        # If this worker failed here, gunicorn would end all others. It returns 500 until the store is available.
        worker.log.error("worker not ready, retrying: error=%s", error)
        threading.Thread(target=_keep_starting, args=(deployment, worker), daemon=True).start()


def _keep_starting(deployment: Any, worker: Any) -> None:
    from wxbot.errors import StoreUnavailable

    while worker.alive:
        time.sleep(START_PAUSE)
        try:
            deployment.start_again()  # does nothing if worker_exit has stopped the deployment
        except StoreUnavailable:
            continue
        return


def worker_exit(server: Any, worker: Any) -> None:
    """Finish running handlers and release the other messages."""
    from wsgi import deployment

    deployment.stop()
