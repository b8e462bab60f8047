"""Several machines: webhook processes accept pushes, workers process the messages, and they share a Redis."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from functools import partial

import pytest

from tests.servers.fixtures import empty_redis, redis_server
from tests.servers.processes import wait_until
from tests.servers.redis_server import RedisServer
from tests.stories.support import asks, replies
from wxbot import Context, Plugin
from wxbot.server.assembly import make_bot
from wxbot.server.bot import Bot
from wxbot.server.deployment import Deployment as Bots
from wxbot.server.web import create_app
from wxbot.settings.environment import load_settings
from wxbot.settings.schema import Settings
from wxbot.testing import FakeWeChat, User, serve

__all__ = ["empty_redis", "redis_server"]


class Deployment:
    """Bots that share a store and a broker, as webhook and worker processes of one account."""

    def __init__(self, wechat: FakeWeChat, redis: RedisServer, stack: ExitStack) -> None:
        self.wechat = wechat
        self.redis = redis
        self._stack = stack
        self.answered_by: list[str] = []

    def settings(self, **choices: object) -> Settings:
        given = {name.removeprefix("WXBOT_").lower(): value for name, value in self.wechat.settings().items()}
        addresses = {"store_url": self.redis.url, "broker_url": self.redis.url}
        pace = {"lease_seconds": 2, "poll_seconds": 0.2}
        return load_settings(env_file=None, **{**given, **addresses, **pace, **choices})

    def webhook(self, **choices: object) -> Bot:
        bot = make_bot(self.settings(**choices), plugins=[self._plugin("webhook")])
        self.wechat.callback_url = self._stack.enter_context(serve(bot))
        return bot

    def worker(self, name: str, plugin: Plugin | None = None, **choices: object) -> Bot:
        bot = make_bot(self.settings(role="worker", **choices), plugins=[plugin or self._plugin(name)])
        bot.start()
        self._stack.callback(bot.stop, 0)
        return bot

    def _plugin(self, name: str) -> Plugin:
        plugin = Plugin("parrot")

        @plugin.fallback
        async def answer(ctx: Context) -> str:
            self.answered_by.append(name)
            return f"{ctx.text}!"

        return plugin


@pytest.fixture
def deployment(empty_redis: RedisServer) -> Iterator[Deployment]:
    with FakeWeChat() as wechat, ExitStack() as stack:
        yield Deployment(wechat, empty_redis, stack)


@pytest.fixture
def user(deployment: Deployment) -> User:
    return deployment.wechat.user("alice")


def test_a_webhook_accepts_and_a_worker_answers(deployment: Deployment, user: User) -> None:
    deployment.webhook()
    deployment.worker("worker")
    asks(user, "hello", "hello!")
    assert user.saw == ["Typing", "CancelTyping", "hello!"]
    assert deployment.answered_by == ["worker"]
    assert [record for record in deployment.wechat.violations if not record.needless] == []


def test_a_worker_answers_messages_from_before_its_start(deployment: Deployment, user: User) -> None:
    deployment.webhook()
    user.says("one")
    user.says("two")
    deployment.worker("worker")
    user.waits_for("two!")
    assert replies(user) == ["one!", "two!"]


def test_a_webhook_accepts_messages_without_the_broker(deployment: Deployment, user: User) -> None:
    """Check that polling finds the message although its wake-up is lost."""
    bot = deployment.webhook(broker_url="redis://127.0.0.1:9/0")
    user.says("hello")
    assert bot.problem() == "the broker is unavailable; messages are stored and answered a few seconds later"
    deployment.worker("worker")
    user.waits_for("hello!")


def test_a_worker_answers_without_the_broker(deployment: Deployment, user: User) -> None:
    deployment.webhook()
    worker = deployment.worker("worker", broker_url="redis://127.0.0.1:9/0")
    asks(user, "hello", "hello!")
    assert worker.problem() == "the broker is unavailable; messages are stored and answered a few seconds later"


def test_two_workers_answer_many_users(deployment: Deployment) -> None:
    deployment.webhook()
    for name in ("one", "two"):
        deployment.worker(name)
    users = [deployment.wechat.user(f"user{n}") for n in range(30)]
    for text in ("first", "second", "third"):
        for user in users:
            user.says(text)
    for user in users:
        user.waits_for("third!")
        assert replies(user) == ["first!", "second!", "third!"]
    assert [record for record in deployment.wechat.violations if not record.needless] == []


def test_a_full_worker_leaves_messages_to_another_worker(deployment: Deployment) -> None:
    deployment.webhook()
    hall = WaitingPlugin()
    deployment.worker("full", hall.plugin(), max_conversations=1)
    first, second = deployment.wechat.user("first"), deployment.wechat.user("second")
    first.says("hello")
    hall.waits_until_a_handler_runs()
    deployment.worker("other")
    asks(second, "hello", "hello!")
    assert deployment.answered_by == ["other"]
    hall.release()
    first.waits_for("done")


def test_a_stopping_worker_releases_its_messages(deployment: Deployment, user: User) -> None:
    deployment.webhook()
    hall = WaitingPlugin()
    leaving = deployment.worker("leaving", hall.plugin())
    user.says("hello")
    hall.waits_until_a_handler_runs()
    deployment.worker("heir")
    leaving.stop(0)
    user.waits_for("hello!")
    assert deployment.answered_by == ["heir"]
    assert user.saw[-1] == "hello!"


def test_a_worker_accepts_no_pushes(deployment: Deployment) -> None:
    worker = create_app(Bots({"": deployment.worker("worker")})).test_client()
    assert worker.post("/wechat").status_code == 404
    assert worker.get("/healthz").status_code == worker.get("/readyz").status_code == 200


def test_messages_are_answered_after_a_store_outage(deployment: Deployment, user: User) -> None:
    webhook, worker = deployment.webhook(), deployment.worker("worker")
    asks(user, "before", "before!")
    deployment.redis.kill()
    assert webhook.problem() == worker.problem() == "the message store is unavailable"
    deployment.redis.start()
    wait_until(lambda: (webhook.problem(), worker.problem()) == (None, None), "ready again")
    asks(user, "after", "after!")


class WaitingPlugin:
    """A plugin whose handlers wait until the test releases them."""

    def __init__(self) -> None:
        self._running = threading.Event()
        self._release: Callable[[], object] | None = None

    def plugin(self) -> Plugin:
        plugin = Plugin("waiting")

        @plugin.fallback
        async def wait(ctx: Context) -> AsyncIterator[str]:
            released, loop = asyncio.Event(), asyncio.get_running_loop()
            self._release = partial(loop.call_soon_threadsafe, released.set)
            self._running.set()
            await released.wait()
            yield "done"

        return plugin

    def waits_until_a_handler_runs(self) -> None:
        assert self._running.wait(10), "no handler runs"

    def release(self) -> None:
        assert self._release is not None
        self._release()
