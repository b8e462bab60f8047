"""Property test: after any steps of two owners that may die, the inbox agrees with a simple model."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from tests.depth import examples
from tests.store.support import APPID, NOW, Backend, Status, Stores, outcome, text_of
from wxbot.errors import LeaseLost
from wxbot.model.quota import Quota
from wxbot.store.records import WITH_BOT, Claim, ConversationKey, ConversationRecord, Handover

LEASE = 10.0
USERS = [ConversationKey(APPID, name) for name in ("alice", "bob")]
OWNERS = ("one", "two")

users = st.sampled_from(USERS)
owners = st.sampled_from(OWNERS)
few = st.integers(0, 5)
budgets = st.none() | st.builds(Quota, few, st.sampled_from([NOW + 60.1, NOW + 172_800.0]))
handovers = st.none() | st.sampled_from([WITH_BOT, Handover(NOW + 5, "agent"), Handover(NOW + 60)])


@dataclass
class Message:
    text: str
    attempts: int = 0
    sent: int = 0
    unsent: tuple[dict[str, Any], ...] = ()


@dataclass
class User:
    """The expected content of the inbox for one user."""

    is_known: bool = False
    seen: set[str] = field(default_factory=set)
    waiting: list[Message] = field(default_factory=list)
    dead: list[Message] = field(default_factory=list)
    due_at: float | None = None
    owner: str | None = None
    lease_until: float = 0.0
    interacted_at: float = 0.0
    typing_until: float = 0.0
    state: dict[str, Any] = field(default_factory=dict)
    quota: Quota | None = None
    handover: Handover = WITH_BOT

    def record(self) -> ConversationRecord:
        return ConversationRecord(self.interacted_at, self.typing_until, self.quota, self.handover, self.state)

    def count_down(self, quota: Quota | None) -> None:
        if quota is not None and (self.quota is None or self.quota.expires_at == quota.expires_at):
            self.quota = quota

    def is_free(self, now: float) -> bool:
        return self.owner is None or self.lease_until <= now

    def is_claimable(self, now: float) -> bool:
        return self.due_at is not None and self.due_at <= now and self.is_free(now)

    def begin(self) -> Message:
        self.waiting[0].attempts += 1
        return self.waiting[0]


class InboxMachine(RuleBasedStateMachine):
    backend: Backend

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.backend.empty()
        self.stores = Stores(self.backend, self.runner)
        self.workers = {name: self.stores.worker(name) for name in OWNERS}
        self.users = {key: User() for key in USERS}
        self.work: dict[tuple[str, ConversationKey], Claim] = {}
        """What each owner processes, as far as it knows."""
        self.fences = dict.fromkeys(USERS, 0)
        self.now = NOW

    def teardown(self) -> None:
        self.stores.close()
        self.runner.close()

    @rule(
        owner=owners,
        key=users,
        number=st.integers(0, 30),
        ago=st.sampled_from([0.0, 0.0, 3.0, 100.0]),
        quota=budgets,
        handover=handovers,
        for_agents=st.booleans(),
    )
    def accept(
        self,
        owner: str,
        key: ConversationKey,
        number: int,
        ago: float,
        quota: Quota | None,
        handover: Handover | None,
        for_agents: bool,
    ) -> None:
        user, text = self.users[key], f"{number}"
        interacted_at = self.now - ago
        receipt = self.workers[owner].delivers(
            text,
            key,
            at=self.now,
            interacted_at=interacted_at,
            quota=quota,
            handover=handover,
            for_agents=for_agents,
        )
        assert receipt.new is (text not in user.seen)
        if receipt.new:
            user.handover = handover or user.handover
            user.quota = quota or user.quota
            user.interacted_at = max(user.interacted_at, interacted_at)
            user.seen.add(text)
            user.is_known = True
        theirs = for_agents and self.now < user.handover.until
        assert receipt.handover == (user.handover if theirs else WITH_BOT)
        if receipt.new and not theirs:
            user.waiting.append(Message(text))
            user.due_at = self.now if user.due_at is None else user.due_at

    @rule(owner=owners, key=users)
    def claim(self, owner: str, key: ConversationKey) -> None:
        user = self.users[key]
        claim = self.workers[owner].tries_to_claim(key, self.now, LEASE)
        assert (claim is not None) is user.is_claimable(self.now)
        if claim is None:
            return
        assert claim.lease.fence > self.fences[key]
        self.fences[key] = claim.lease.fence
        user.owner, user.lease_until = owner, self.now + LEASE
        self.agree(claim, user)
        self.work[owner, key] = claim

    @precondition(lambda self: self.work)
    @rule(
        data=st.data(),
        status=st.sampled_from(["done", "dead", "retry", "released"]),
        go_on=st.booleans(),
        sent=few,
        sent_ago=st.sampled_from([NOW, 0.0, 50.0]),
        unsent=st.lists(st.builds(lambda n: {"kind": "text", "text": str(n)}, few), max_size=2),
        state=st.none() | st.dictionaries(st.sampled_from("ab"), few),
        typing_until=st.sampled_from([0.0, NOW + 50]),
        quota=budgets,
        handover=handovers,
    )
    def complete(
        self,
        data: st.DataObject,
        status: Status,
        go_on: bool,
        sent: int,
        sent_ago: float,
        unsent: list[dict[str, Any]],
        state: dict[str, Any] | None,
        typing_until: float,
        quota: Quota | None,
        handover: Handover | None,
    ) -> None:
        owner, key, work, user = self.some_work(data)
        sent_at = self.now - sent_ago
        how = outcome(
            work.message,
            status,
            sent=sent,
            sent_at=sent_at,
            unsent=tuple(unsent),
            state=state,
            typing_until=typing_until,
            quota=quota,
            handover=handover,
            retry_at=self.now + 5,
            reason="so",
        )
        worker = self.workers[owner]
        if not self.is_owned(owner, key, work):
            with pytest.raises(LeaseLost):
                worker.wait(worker.store.complete(work.lease, how, self.now, go_on=go_on))
            del self.work[owner, key]
            return
        following = worker.wait(worker.store.complete(work.lease, how, self.now, go_on=go_on))
        message = user.waiting[0]
        message.sent, message.unsent = sent, tuple(unsent)
        user.interacted_at = max(user.interacted_at, sent_at)
        user.typing_until = typing_until
        user.state = user.state if state is None else state
        user.count_down(quota)
        user.handover = handover or user.handover
        if status in ("done", "dead"):
            user.waiting.pop(0)
            user.dead += [message] if status == "dead" else []
        elif status == "released":
            message.attempts -= 1
        if go_on and status in ("done", "dead") and user.waiting:
            assert following is not None
            self.agree(following, user)
            self.work[owner, key] = following
        else:
            assert following is None
            user.owner = None
            user.due_at = self.now + 5 if status == "retry" else self.now if user.waiting else None
            del self.work[owner, key]

    @precondition(lambda self: self.work)
    @rule(data=st.data(), sent=few, quota=budgets)
    def checkpoint_after_a_send(self, data: st.DataObject, sent: int, quota: Quota | None) -> None:
        owner, key, work, user = self.some_work(data)
        if not self.is_owned(owner, key, work):
            with pytest.raises(LeaseLost):
                self.workers[owner].records_sent(work, sent, self.now, quota)
            return
        stored = self.workers[owner].records_sent(work, sent, self.now, quota)
        user.count_down(quota)
        user.waiting[0].sent = sent
        user.interacted_at, user.typing_until = max(user.interacted_at, self.now), 0.0
        assert replace(stored, state=user.state) == user.record()

    @precondition(lambda self: self.work)
    @rule(data=st.data(), seconds=few)
    def checkpoint_before_typing(self, data: st.DataObject, seconds: int) -> None:
        owner, key, work, user = self.some_work(data)
        if not self.is_owned(owner, key, work):
            with pytest.raises(LeaseLost):
                self.workers[owner].saves_typing(work, self.now + seconds)
            return
        user.typing_until = self.now + seconds
        stored = self.workers[owner].saves_typing(work, user.typing_until)
        assert replace(stored, state=user.state) == user.record()

    @rule(owner=owners)
    def renew(self, owner: str) -> None:
        worker = self.workers[owner]
        held = worker.renews(self.now, LEASE)
        owned = {key: user for key, user in self.users.items() if user.owner == owner and key in worker.leases}
        assert held == {key: replace(user.record(), state=None) for key, user in owned.items()}
        for user in owned.values():
            user.lease_until = self.now + LEASE

    @rule(owner=owners, key=users)
    def end_handover(self, owner: str, key: ConversationKey) -> None:
        worker, user = self.workers[owner], self.users[key]
        assert worker.wait(worker.store.end_handover(key)) is (user.handover != WITH_BOT)
        user.handover = WITH_BOT

    @rule(owner=owners)
    def die(self, owner: str) -> None:
        """Restart the owner under the same name. It no longer knows its leases."""
        self.workers[owner].store.close()
        self.workers[owner] = self.stores.worker(owner)
        self.work = {key: work for key, work in self.work.items() if key[0] != owner}

    @rule(seconds=st.sampled_from([0.5, 4.0, 5.0, LEASE]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @precondition(lambda self: any(user.dead for user in self.users.values()))
    @rule(data=st.data(), owner=owners)
    def drop_a_dead_letter(self, data: st.DataObject, owner: str) -> None:
        key = data.draw(st.sampled_from([key for key, user in self.users.items() if user.dead]))
        worker, dead = self.workers[owner], self.users[key].dead
        letters = [letter for letter in worker.wait(worker.store.dead_letters(APPID, 100)) if letter.key == key]
        assert sorted(letter.fields["Content"] for letter in letters) == sorted(message.text for message in dead)
        assert worker.wait(worker.store.remove_dead_letter(APPID, letters[0].seq))
        text = letters[0].fields["Content"]
        self.users[key].dead = [message for message in dead if message.text != text]
        self.users[key].seen.remove(text)

    @invariant()
    def waiting_users_agree(self) -> None:
        expected = {key for key, user in self.users.items() if user.is_claimable(self.now)}
        waiting = self.workers["one"].waiting(self.now)
        assert set(waiting) == expected
        assert len(waiting) == len(expected)
        dues = [self.users[key].due_at or 0.0 for key in waiting]
        assert dues == sorted(dues)

    @invariant()
    def quotas_and_handovers_agree(self) -> None:
        worker = self.workers["two"]
        for key, user in self.users.items():
            assert worker.finds(key).conversation == (user.record() if user.is_known else None)
        listed = worker.wait(worker.store.handovers(APPID, self.now, 10))
        assert dict(listed) == {k: user.handover for k, user in self.users.items() if self.now < user.handover.until}
        assert [to.until for _, to in listed] == sorted(to.until for _, to in listed)

    def some_work(self, data: st.DataObject) -> tuple[str, ConversationKey, Claim, User]:
        owner, key = data.draw(st.sampled_from(sorted(self.work)))
        return owner, key, self.work[owner, key], self.users[key]

    def is_owned(self, owner: str, key: ConversationKey, work: Claim) -> bool:
        return self.users[key].owner == owner and work.lease.fence == self.fences[key]

    def agree(self, claim: Claim, user: User) -> None:
        pending, message = claim.message, user.begin()
        assert text_of(claim) == message.text
        assert (pending.attempts, pending.sent, pending.unsent) == (message.attempts, message.sent, message.unsent)
        assert claim.conversation == user.record()


def test_the_inbox_agrees_with_its_model(backend: Backend) -> None:
    machine = type("Machine", (InboxMachine,), {"backend": backend})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples(15, 200),
            stateful_step_count=40,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
