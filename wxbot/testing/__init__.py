"""Tests for bots and plugins, without WeChat.

``chat`` tests a plugin with one user in a few lines, ``wechat_for`` with several users (wxbot/testing/chat.py).
Both use ``FakeWeChat``, the simulated platform, which speaks real HTTP. ``User`` is one of its users, ``Agent`` a
human agent. ``ManualClock`` is a clock that a test controls. ``FakeCloud`` simulates WeChat Cloud Hosting::

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
