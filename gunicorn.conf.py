"""How gunicorn runs wxbot. Command-line options and GUNICORN_CMD_ARGS win over what stands here."""

import gc
import os
import threading
import time
from typing import Any

from dotenv import load_dotenv

load_dotenv(".env")  # what stands there counts here too; the environment wins

bind = os.environ.get("WXBOT_BIND", "127.0.0.1:8000")
workers = int(os.environ.get("WEB_CONCURRENCY", "2"))
worker_class = "gthread"
# A push to an unverified account holds its thread until its answer is there, for up to 5 seconds.
threads = 64 if os.environ.get("WXBOT_ACCOUNT_KIND") == "unverified" else 8
control_socket_disable = True

# A stopping worker first finishes its handlers (WXBOT_DRAIN_SECONDS) and then a send under way (WXBOT_API_TIMEOUT).
_drain = float(os.environ.get("WXBOT_DRAIN_SECONDS", "25")) + float(os.environ.get("WXBOT_API_TIMEOUT", "10"))
graceful_timeout = int(_drain) + 5
timeout = graceful_timeout + 10
START_PAUSE = 1.0


def post_worker_init(worker: Any) -> None:
    """Start answering at once: messages may be waiting from before a restart."""
    # Imported here, in the worker: what the master imports would survive a reload.
    from wsgi import deployment
    from wxbot.errors import StoreUnavailable

    # What was imported lives as long as the worker: the collector need not look at it again and again.
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 50, 100)
    try:
        deployment.start()
    except StoreUnavailable as error:
        if worker.age <= worker.cfg.workers:  # the first start: somebody is there to read why
            raise
        # A worker that fails here would make gunicorn end all the others. This one answers 500 until the store is back.
        worker.log.error("this worker answers nobody yet: %s", error)
        threading.Thread(target=_keep_starting, args=(deployment, worker), daemon=True).start()


def _keep_starting(deployment: Any, worker: Any) -> None:
    from wxbot.errors import StoreUnavailable

    while worker.alive:
        time.sleep(START_PAUSE)
        try:
            deployment.start_again()  # does nothing once worker_exit has stopped it
        except StoreUnavailable:
            continue
        return


def worker_exit(server: Any, worker: Any) -> None:
    """Finish what is running and hand the rest back."""
    from wsgi import deployment

    deployment.stop()
