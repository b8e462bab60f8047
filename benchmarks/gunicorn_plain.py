"""wxbot's gunicorn settings without its hooks, for the applications that wxbot is compared with."""

import runpy
from pathlib import Path

_wxbot = runpy.run_path(str(Path(__file__).parent.parent / "gunicorn.conf.py"))
bind = _wxbot["bind"]
workers = _wxbot["workers"]
worker_class = _wxbot["worker_class"]
threads = _wxbot["threads"]
