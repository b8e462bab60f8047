"""Which door the settings ask for."""

from __future__ import annotations

from wxbot.settings.schema import Settings
from wxbot.wechat.push.callback import Callback
from wxbot.wechat.push.cloud_callback import CloudCallback


def callback_for(settings: Settings) -> Callback | CloudCallback:
    """What verifies, opens and answers the account's pushes.

    On WeChat Cloud Hosting they come unsigned, unless there is a token: then only signed ones are believed, as ever.
    """
    if settings.cloud_call != "off" and not settings.token.get_secret_value().strip():
        return CloudCallback(settings.appid)
    return Callback(
        appid=settings.appid,
        token=settings.token.get_secret_value(),
        aes_key=settings.aes_key.get_secret_value() if settings.aes_key else None,
        previous_aes_key=settings.previous_aes_key.get_secret_value() if settings.previous_aes_key else None,
        max_skew_seconds=settings.max_skew_seconds,
    )
