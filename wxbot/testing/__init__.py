"""Test doubles for bots and their plugins.

``chat`` tries a plugin in a few lines, ``wechat_for`` with several users (wxbot/testing/chat.py). Below them,
``FakeWeChat`` plays WeChat's platform over real HTTP, ``User`` one of its users, ``Agent`` a human agent,
``ManualClock`` the time, and ``FakeCloud`` the environment of a bot that runs in one of WeChat's own containers::

    with FakeWeChat(clock, callback_url="http://127.0.0.1:8000/wechat") as wechat:
        alice = wechat.user("alice")
        alice.says("hi").wait()
        alice.waits_for("Hello!")
        assert alice.saw == ["Typing", "CancelTyping", "Hello!"]
"""

from __future__ import annotations

from wxbot.testing.agents import Agent
from wxbot.testing.chat import chat, context, serve, serve_accounts, settings_for, wechat_for
from wxbot.testing.clock import LeapingClock, ManualClock, RealClock
from wxbot.testing.cloud import FakeCloud
from wxbot.testing.fake import FakeWeChat
from wxbot.testing.media import SAMPLE_IMAGE, SAMPLE_VIDEO, SAMPLE_VOICE
from wxbot.testing.push import Attempt, Push
from wxbot.testing.records import Record, Saw
from wxbot.testing.rules import Allowance
from wxbot.testing.user import User

__all__ = [
    "SAMPLE_IMAGE",
    "SAMPLE_VIDEO",
    "SAMPLE_VOICE",
    "Agent",
    "Allowance",
    "Attempt",
    "FakeCloud",
    "FakeWeChat",
    "LeapingClock",
    "ManualClock",
    "Push",
    "RealClock",
    "Record",
    "Saw",
    "User",
    "chat",
    "context",
    "serve",
    "serve_accounts",
    "settings_for",
    "wechat_for",
]
