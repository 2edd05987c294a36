"""What an agent did besides speaking, told to people."""

from collections.abc import Mapping
from typing import Any


def describe_action(action: Mapping[str, Any]) -> str:
    """An action of a turn in words."""
    match action["kind"]:
        case "take_message":
            contact = " ".join(filter(None, (action["name"], action["number"]))) or "the caller"
            return f"took a message from {contact}: {action['reason']}"
        case "transfer":
            return f"transfers to {action['target']}"
        case "to_fallback":
            return "sends the caller to the fallback number"
        case "hang_up":
            return f"hangs up ({action['end_reason']})"
        case other:
            return str(other)
