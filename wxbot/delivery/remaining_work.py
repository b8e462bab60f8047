"""The remaining work of a message, in its stored form: pending replies, unconfirmed replies, a handover, a failure.

The entries are JSON values. A reply is stored as ``replies.reply_to_json`` writes it; every other entry has a ``kind``
that begins with ``_``, which no reply has.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from wxbot.model.replies import Reply, reply_from_json, reply_to_json
from wxbot.store.records import Handover

_UNCONFIRMED, _HANDOVER, _FAILURE, RUN_AGAIN = "_doubtful", "_hand_over", "_failure", "_again"
"""The kinds in the store. They are older than the names in the code, but existing stores contain them."""


@dataclass(slots=True)
class RemainingWork:
    """The work that an earlier attempt did not finish. ``run_handler``: run the handler after sending the replies."""

    unconfirmed: list[Reply] = field(default_factory=list)
    pending: list[Reply] = field(default_factory=list)
    handover: Handover | None = None
    failure: str = ""
    sent_before_failure: int = 0
    run_handler: bool = False

    @classmethod
    def read(cls, entries: Sequence[Mapping[str, Any]]) -> RemainingWork:
        """Read stored entries. Raises KeyError, TypeError, ValueError for entries of another version of wxbot."""
        work = cls()
        for entry in entries:
            kind = entry["kind"]
            if kind == _UNCONFIRMED:
                work.unconfirmed.append(reply_from_json(entry["reply"]))
            elif kind == _HANDOVER:
                work.handover = Handover(entry["until"], entry["agent"])
            elif kind == _FAILURE:
                work.failure, work.sent_before_failure = str(entry["reason"]), int(entry["said"])
            elif kind == RUN_AGAIN:
                work.run_handler = True
            else:
                work.pending.append(reply_from_json(entry))
        return work

    @property
    def handler_done(self) -> bool:
        """Return True if the handler need not run."""
        return bool(self.pending or self.handover or self.failure) and not self.run_handler

    def entries(self) -> tuple[Mapping[str, Any], ...]:
        """Return the entries for the store, to be read by the next owner of the conversation."""
        stored: list[dict[str, Any]] = [{"kind": _UNCONFIRMED, "reply": reply_to_json(r)} for r in self.unconfirmed]
        stored += [reply_to_json(reply) for reply in self.pending]
        stored += [{"kind": _HANDOVER, **self.handover._asdict()}] if self.handover else []
        if self.failure:
            stored.append({"kind": _FAILURE, "reason": self.failure, "said": self.sent_before_failure})
        elif self.pending and self.run_handler:
            stored.append({"kind": RUN_AGAIN})
        return tuple(stored)

    def dead_letter_entries(self) -> tuple[Mapping[str, Any], ...]:
        """Return the entries for a dead letter: replies that an operator may send, and whether the handler must run."""
        replies = [reply_to_json(reply) for reply in (*self.unconfirmed, *self.pending)]
        return tuple([*replies, {"kind": RUN_AGAIN}] if self.run_handler else replies)
