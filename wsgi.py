"""The WSGI application for gunicorn: ``gunicorn wsgi:app``. See gunicorn.conf.py and docs/configuration.md."""

from wxbot.logs import configure_logging
from wxbot.server.assembly import make_deployment
from wxbot.server.web import create_app
from wxbot.settings.environment import load_settings

settings = load_settings()
configure_logging(settings.process.server.log_level, settings.secrets())
deployment = make_deployment(settings)
app = create_app(deployment)
