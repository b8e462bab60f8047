"""What gunicorn serves: ``gunicorn wsgi:app``. Everything else is in gunicorn.conf.py and the settings."""

from wxbot.logs import configure_logging
from wxbot.server.deployment import Deployment
from wxbot.settings.accounts_file import all_secrets, load_accounts

accounts = load_accounts()
configure_logging(next(iter(accounts.values())).log_level, all_secrets(accounts))
deployment = Deployment(accounts)
app = deployment.wsgi()
