"""The WSGI application for gunicorn: ``gunicorn wsgi:app``. See gunicorn.conf.py and docs/configuration.md."""

from wxbot.logs import configure_logging
from wxbot.server.assembly import make_deployment
from wxbot.server.web import create_app
from wxbot.settings.accounts_file import all_secrets, load_accounts

accounts = load_accounts()
configure_logging(next(iter(accounts.values())).log_level, all_secrets(accounts))
deployment = make_deployment(accounts)
app = create_app(deployment)
