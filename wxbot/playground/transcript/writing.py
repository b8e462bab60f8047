"""Write transcripts as YAML. Details with default values are left out."""

from __future__ import annotations

from wxbot.playground.transcript.steps import FORMS, VERSION, AgentStep, Part, Step, Transcript, UserStep
from wxbot.playground.transcript.texts import scalar

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
    form = FORMS[type(step)]
    subject = step.agent if isinstance(step, AgentStep) else step.user if isinstance(step, UserStep) else ""
    head = "- " + scalar(f"{subject} {step.words}" if subject else step.words)
    main = [head] if form.main is None else _write_value(head, form.main, step)
    details: list[str] = []
    for key, part in form.details.items():
        if getattr(step, part.name) != part.default:
            details += _write_value(f"  {key}", part, step)
    if details and main == [head]:
        main = [head + ":"]
    return main + details


def _write_value(head: str, part: Part, step: Step) -> list[str]:
    first, *rest = part.kind.write(getattr(step, part.name))
    if not first and not rest:
        return [head]
    return [f"{head}: {first}".rstrip(), *(line and _INDENT + line for line in rest)]
