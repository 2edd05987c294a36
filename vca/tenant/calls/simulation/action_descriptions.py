"""Describe an agent's actions for people."""

from collections.abc import Mapping
from typing import Any


def describe_action(action: Mapping[str, Any]) -> str:
    """Return an action of a turn as text."""
    match action["kind"]:
        case "take_message":
            contact = " ".join(filter(None, (action["name"], action["number"]))) or "the caller"
            return f"took a message from {contact}: {action['reason']}"
        case "transfer":
            return f"transfers the caller to {action['target']}"
        case "to_fallback":
            return "forwards the caller to the fallback number"
        case "hang_up":
            return f"hangs up ({action['end_reason']})"
        case other:
            return str(other)
