"""wxbot: a chatbot framework for WeChat customer-service messages. What a plugin author imports, and nothing else."""

from wxbot.errors import PluginError
from wxbot.messages import (
    EventMessage,
    ImageMessage,
    Message,
    MiniProgramPageMessage,
    Reply,
    TextMessage,
    TextReply,
    UnknownMessage,
)
from wxbot.plugin import Context, Plugin
from wxbot.version import __version__

__all__ = [
    "Context",
    "EventMessage",
    "ImageMessage",
    "Message",
    "MiniProgramPageMessage",
    "Plugin",
    "PluginError",
    "Reply",
    "TextMessage",
    "TextReply",
    "UnknownMessage",
    "__version__",
]
