"""What gunicorn serves: ``gunicorn wsgi:app``. Everything else is in gunicorn.conf.py and the settings."""

from wxbot.bot import Bot
from wxbot.config import load_settings
from wxbot.logs import configure_logging

settings = load_settings()
configure_logging(settings.log_level, settings.secrets())
bot = Bot(settings)
app = bot.wsgi()
