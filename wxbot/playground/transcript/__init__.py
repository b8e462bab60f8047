"""Transcripts: a conversation as a YAML file, with user actions, control steps and the messages that each user sees.

::

    wxbot-transcript: 1
    account: miniprogram
    mode: safe
    format: json
    steps:
    - amy says: 你好
    - amy sees: [Typing, CancelTyping, 你好]
    - forward: 31
    - amy sees: [Typing, {matches: "^Order [0-9]+$"}]

Each step has a head, such as ``amy says``, and may have details below it. A user's name may be any text: the words at
the end of the head identify the step. ``read`` and ``write`` are inverse functions.
"""

from __future__ import annotations

from wxbot.playground.transcript.grammar import fits
from wxbot.playground.transcript.problems import BadTranscript
from wxbot.playground.transcript.reading import MAX_BYTES, read
from wxbot.playground.transcript.steps import (
    MAX_SECONDS,
    MAX_STEPS,
    VERSION,
    AgentStep,
    ClearFaults,
    Clicks,
    ClicksMenuItem,
    Closes,
    DeliverTwiceAtOnce,
    Does,
    Enters,
    Fault,
    FaultKind,
    Follows,
    Forward,
    HandsOver,
    Hold,
    InOrder,
    Leaves,
    Matches,
    Redeliver,
    Release,
    ReleaseOrder,
    RevokeToken,
    Says,
    Scans,
    Sees,
    Sends,
    SendsCard,
    SendsLink,
    SendsLocation,
    SendsPicture,
    SendsShortVideo,
    SendsVideo,
    SendsVoice,
    SetFormat,
    SetMode,
    Step,
    Takes,
    Thing,
    Transcript,
    UserStep,
    Views,
    Waits,
    Writes,
    user_of,
)
from wxbot.playground.transcript.writing import in_one_line, write

__all__ = [
    "MAX_BYTES",
    "MAX_SECONDS",
    "MAX_STEPS",
    "VERSION",
    "AgentStep",
    "BadTranscript",
    "ClearFaults",
    "Clicks",
    "ClicksMenuItem",
    "Closes",
    "DeliverTwiceAtOnce",
    "Does",
    "Enters",
    "Fault",
    "FaultKind",
    "Follows",
    "Forward",
    "HandsOver",
    "Hold",
    "InOrder",
    "Leaves",
    "Matches",
    "Redeliver",
    "Release",
    "ReleaseOrder",
    "RevokeToken",
    "Says",
    "Scans",
    "Sees",
    "Sends",
    "SendsCard",
    "SendsLink",
    "SendsLocation",
    "SendsPicture",
    "SendsShortVideo",
    "SendsVideo",
    "SendsVoice",
    "SetFormat",
    "SetMode",
    "Step",
    "Takes",
    "Thing",
    "Transcript",
    "UserStep",
    "Views",
    "Waits",
    "Writes",
    "fits",
    "in_one_line",
    "read",
    "user_of",
    "write",
]
