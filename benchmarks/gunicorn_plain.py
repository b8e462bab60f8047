"""gunicorn as wxbot runs it, without wxbot's hooks: for the applications it is compared with."""

import runpy
from pathlib import Path

_wxbot = runpy.run_path(str(Path(__file__).parent.parent / "gunicorn.conf.py"))
bind = _wxbot["bind"]
workers = _wxbot["workers"]
worker_class = _wxbot["worker_class"]
threads = _wxbot["threads"]
