"""Write transcripts as YAML. Details with default values are left out."""

from __future__ import annotations

from wxbot.playground.transcript.grammar import WORDS
from wxbot.playground.transcript.steps import VERSION, AgentStep, Step, Transcript, UserStep
from wxbot.playground.transcript.texts import scalar
from wxbot.playground.transcript.values import Kind

_INDENT = "    "


def write(transcript: Transcript) -> str:
    """Return ``transcript`` as YAML, which ``read`` reads again."""
    lines = [
        f"wxbot-transcript: {VERSION}",
        f"account: {transcript.account_kind}",
        f"mode: {transcript.mode}",
        f"format: {transcript.format}",
    ]
    if not transcript.typing:
        lines.append("typing: false")
    lines.append("steps:" if transcript.steps else "steps: []")
    for step in transcript.steps:
        lines += _write_step(step)
    return "\n".join(lines) + "\n"


def in_one_line(step: Step) -> str:
    """Return ``step`` on one line, for the timeline."""
    return ", ".join(line.strip() for line in _write_step(step)).removeprefix("- ")


def _write_step(step: Step) -> list[str]:
    words, form = WORDS[type(step)]
    subject = step.agent if isinstance(step, AgentStep) else step.user if isinstance(step, UserStep) else ""
    head = "- " + scalar(f"{subject} {words}" if subject else words)
    main = [head] if form.main is None else _write_value(head, *form.main, step)
    details: list[str] = []
    for word, (name, kind) in form.details.items():
        if getattr(step, name) != form.default_of(name):
            details += _write_value(f"  {word}", name, kind, step)
    if details and main == [head]:
        main = [head + ":"]
    return main + details


def _write_value(head: str, name: str, kind: Kind, step: Step) -> list[str]:
    first, *rest = kind.write(getattr(step, name))
    if not first and not rest:
        return [head]
    return [f"{head}: {first}".rstrip(), *(line and _INDENT + line for line in rest)]
