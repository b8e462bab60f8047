"""Contract tests under concurrency: no message is lost, repeated or out of order."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor

from tests.store.support import APPID, NOW, Stores, incoming, outcome, text_of
from wxbot.errors import LeaseLost
from wxbot.store.port import Store
from wxbot.store.records import ConversationKey

USERS = [ConversationKey(APPID, f"user {n}") for n in range(3)]
MESSAGES = 60


class Poller:
    """Owners that claim waiting conversations and complete their messages until all were read."""

    def __init__(self, expected: int) -> None:
        self.read: dict[ConversationKey, list[str]] = defaultdict(list)
        self.left = expected
        self.done = asyncio.Event()

    async def work(self, store: Store, owner: str) -> None:
        """Work as a process without wake-ups does: poll, claim, and complete until the lease is released."""
        while not self.done.is_set():
            for key in await store.waiting(USERS[0].appid, NOW, 10):
                await self._process(store, owner, key)

    async def _process(self, store: Store, owner: str, key: ConversationKey) -> None:
        claim = await store.claim(key, owner, NOW, 60.0)
        while claim is not None:
            self.read[key].append(text_of(claim))
            self.left -= 1
            claim = await store.complete(claim.lease, outcome(claim.message), NOW, go_on=True)
        if self.left <= 0:
            self.done.set()


def test_messages_accepted_during_processing_are_read_once_and_in_order(stores: Stores) -> None:
    """One thread per user delivers every message twice, to both processes, while they process messages."""
    one, two = stores.open(), stores.open()
    texts = [f"message {n}" for n in range(MESSAGES)]

    def deliver(key: ConversationKey) -> int:
        return sum(store.accept(incoming(text, key)).new for text in texts for store in (one, two))

    async def story() -> Poller:
        poller = Poller(len(USERS) * MESSAGES)
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(len(USERS)) as pool:
            delivering = [loop.run_in_executor(pool, deliver, key) for key in USERS]
            async with asyncio.timeout(30), asyncio.TaskGroup() as group:
                group.create_task(poller.work(one, "one"))
                group.create_task(poller.work(two, "two"))
            assert await asyncio.gather(*delivering) == [MESSAGES] * len(USERS)
        return poller

    poller = stores.runner.run(story())
    assert poller.read == dict.fromkeys(USERS, texts)


def test_owners_that_die_at_random_leave_no_message_pending(stores: Stores) -> None:
    """After an owner dies between reading and completing, the next owner reads the message again and skips none."""
    chance = random.Random(20_240_229)
    one, two = stores.worker("one"), stores.worker("two")
    texts = [f"message {n}" for n in range(MESSAGES)]
    one.accept(*(incoming(text, key) for text in texts for key in USERS))
    read: dict[ConversationKey, list[str]] = defaultdict(list)
    now, lost = NOW, 0
    while keys := one.waiting(now):
        key = chance.choice(keys)
        worker = chance.choice((one, two))
        claim = worker.claims(key, now, seconds=1.0)
        if text_of(claim) not in read[key]:
            read[key].append(text_of(claim))
        if chance.random() < 0.3:  # the owner dies; the next one claims after the lease has expired
            now += 1.0
            successor = (two if worker is one else one).claims(key, now, seconds=1.0)
            assert text_of(successor) == text_of(claim)
            try:
                worker.completes(claim, now=now)
            except LeaseLost:
                lost += 1
            claim, worker = successor, two if worker is one else one
        worker.completes(claim, now=now, go_on=False)
    assert read == dict.fromkeys(USERS, texts)
    assert lost > 10
