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

from wxbot.playground.transcript.problems import BadTranscript as BadTranscript
from wxbot.playground.transcript.reading import MAX_BYTES as MAX_BYTES
from wxbot.playground.transcript.reading import read as read
from wxbot.playground.transcript.steps import *  # noqa: F403 - all steps
from wxbot.playground.transcript.values import MAX_SECONDS as MAX_SECONDS
from wxbot.playground.transcript.values import Matches as Matches
from wxbot.playground.transcript.values import Thing as Thing
from wxbot.playground.transcript.writing import in_one_line as in_one_line
from wxbot.playground.transcript.writing import write as write
