"""Messages for tests of the router, made without a push."""

from __future__ import annotations

from typing import Any

from wxbot import Context, Plugin
from wxbot.model.messages import Message, message_from
from wxbot.plugin.router import Choice, Router


def pushed(kind: str, **fields: Any) -> Message:
    head = {"FromUserName": "oALICE", "ToUserName": "gh_1", "CreateTime": 0, "MsgId": "1"}
    return message_from("wx1", {**head, "MsgType": kind, **fields}, 0.0)


def text(content: str) -> Message:
    return pushed("text", Content=content)


def event(name: str) -> Message:
    return pushed("event", Event=name)


IMAGE = pushed("image", MediaId="M", PicUrl="http://pic")
PAGE = pushed("miniprogrampage", Title="Shop", PagePath="pages/index")
VOICE = pushed("voice", MediaId="M")


def choose(message: Message, *plugins: Plugin, **context: Any) -> Choice | None:
    """Return the handler that the router chooses, and its context; ``context`` sets fields of each context."""
    return Router(plugins).choose(lambda name: Context(message, name, **context))


def chosen(message: Message, *plugins: Plugin, **context: Any) -> str | None:
    """Return the name of the handler that the router chooses."""
    choice = choose(message, *plugins, **context)
    return None if choice is None else choice.handler.name


def context_for(message: Message, *plugins: Plugin) -> Context:
    """Return the context that the chosen handler gets."""
    choice = choose(message, *plugins)
    assert choice is not None
    return choice.context
