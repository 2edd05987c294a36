"""Translate a reply into Telnyx's commands, in order. Pure functions.

Telnyx executes a command when it arrives and reports when it has ended: `hangup` directly after
`speak` would cut off the speech. So the commands after speech go into the leg's state, and are sent
when the speech has ended.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from vca.kit.text import sanitize
from vca.telephony.providers.telnyx import languages
from vca.telephony.providers.telnyx.client_state import Command, Phase
from vca.telephony.types import (
    Action,
    CallReply,
    Forward,
    HangUp,
    Listen,
    Poll,
    Record,
    Reject,
    Relay,
    Say,
    SendKeys,
    TakeVoicemail,
    Transfer,
)

MAX_TEXT_CHARS = 3_000
# The argument of a command that holds its permission: a DialPermit, or its token in a leg's state.
# Sending the command replaces it. So a process of an older release, which does not know
# permissions, can send the command too.
PERMIT = "command_id"
MAX_KEYS = 32
_KEY_GAP_MS = 2_000
# A gather serves as a pause whose end is reported.
_PAUSE_MS = 500
_RING_TIMEOUT_RANGE_S = (5, 600)
_PHASES: dict[type[Action], Phase] = {
    Listen: "listening",
    Relay: "relay",
    Transfer: "transfer",
    Forward: "left",
    TakeVoicemail: "voicemail",
    Poll: "more",
}
# After a transfer, we must not listen to the conversation.
_STOP_TRANSCRIPTION: Command = {"command": "stop_transcription"}
_REJECTIONS = {"busy": "USER_BUSY", "rejected": "CALL_REJECTED"}


@dataclass(frozen=True)
class CommandPlan:
    """Commands in order. `phase` is the leg's phase after all of them."""

    commands: tuple[Command, ...]
    phase: Phase
    state: str | None = None

    def split_after_speech(self) -> tuple[tuple[Command, ...], tuple[Command, ...]]:
        """Return the commands to send now, and those to send when the leg has spoken."""
        for index, command in enumerate(self.commands[:-1], start=1):
            if command["command"] == "speak":
                return self.commands[:index], self.commands[index:]
        return self.commands, ()


def build_plan(reply: CallReply) -> CommandPlan:
    """Return the commands of the whole reply."""
    commands: list[Command] = []
    for action in reply.actions:
        if isinstance(action, Transfer | Forward):
            commands.append(_STOP_TRANSCRIPTION)
        if isinstance(action, Listen) and _ends_with_speech(commands):
            commands[-1] = {**commands[-1], **_gather_with_speech(action)}
        elif not (isinstance(action, Poll) and _ends_with_speech(commands)):
            commands.append(_build_command(action))
    last = reply.actions[-1] if reply.actions else None
    phase = _PHASES.get(type(last), "done") if last is not None else "done"
    return CommandPlan(tuple(commands), phase, reply.state)


def without_permit(command: Command) -> Command:
    """Return the command as Telnyx would get it."""
    return {name: value for name, value in command.items() if name != PERMIT}


def drop_empty_speech(plan: CommandPlan) -> CommandPlan:
    """Return the plan without empty texts, which Telnyx rejects."""
    candidates = [_drop_empty_payload(command) for command in plan.commands]
    commands = tuple(command for command in candidates if command is not None)
    if plan.phase == "more" and not _ends_with_speech(commands):
        commands = (
            (*commands, _short_pause())
            if not commands or commands[-1]["command"] != "gather"
            else commands
        )
    return replace(plan, commands=commands)


def _ends_with_speech(commands: Sequence[Command]) -> bool:
    return bool(commands) and commands[-1]["command"] == "speak"


def _drop_empty_payload(command: Command) -> Command | None:
    if command.get("payload", "…").strip():
        return command
    if command["command"] == "speak":
        return None
    speech_fields = ("payload", "payload_type", "voice", "maximum_tries", "timeout_millis")
    silence_ms = command["timeout_millis"]
    options = {name: value for name, value in command.items() if name not in speech_fields}
    return {**options, "command": "gather", **_gather_timeouts(silence_ms)}


def _build_command(action: Action) -> dict[str, Any]:
    match action:
        case Say():
            return _speak(action)
        case Listen():
            return {
                "command": "gather",
                **_gather_timeouts(action.silence_s * 1000),
                **_digit_options(),
            }
        case Relay():
            return _start_relay(action)
        case Poll():
            return _short_pause()
        case Transfer():
            ring_timeout_s = max(
                _RING_TIMEOUT_RANGE_S[0], min(action.timeout_s, _RING_TIMEOUT_RANGE_S[1])
            )
            return {**_transfer(action), "timeout_secs": ring_timeout_s}
        case Forward():
            return _transfer(action)
        case TakeVoicemail():
            return {**_start_recording("single"), "play_beep": True, "max_length": action.longest_s}
        case Record():
            return _start_recording("dual")
        case SendKeys():
            return {"command": "send_dtmf", "digits": action.keys}
        case Reject():
            return {"command": "reject", "cause": _REJECTIONS[action.reason]}
        case HangUp():
            return {"command": "hangup"}


def _transfer(action: Transfer | Forward) -> dict[str, Any]:
    return {"command": "transfer", "to": action.permit.number, PERMIT: action.permit}


def _speak(say: Say) -> dict[str, Any]:
    return {
        "command": "speak",
        "payload": sanitize(say.text, max_length=MAX_TEXT_CHARS),
        "payload_type": "text",
        "voice": languages.choose_voice(say.voice, say.language),
    }


def _start_relay(relay: Relay) -> dict[str, Any]:
    greeting = sanitize(relay.greeting, max_length=MAX_TEXT_CHARS)
    greeting_source = relay.turn.greeting_interruptible
    return {
        "command": "start_conversation_relay",
        "url": relay.url,
        **({"greeting": greeting} if greeting.strip() else {}),
        "language": languages.relay_language(relay.language),
        "voice": languages.choose_voice(relay.voice, relay.language),
        "interruptible": relay.turn.interruptible or "any",
        **({"interruptible_greeting": greeting_source} if greeting_source else {}),
        "dtmf_detection": True,
        "custom_parameters": {"token": relay.token},
    }


def _gather_with_speech(listen: Listen) -> dict[str, Any]:
    """Return the fields for speech that keys can interrupt, with the same silence after it."""
    silence_ms = listen.silence_s * 1000
    speech_options = {"maximum_tries": 1, "timeout_millis": silence_ms}
    return {"command": "gather_using_speak", **speech_options, **_digit_options()}


def _gather_timeouts(silence_ms: int) -> dict[str, int]:
    """Return a gather's timeouts: for the first key, and for all of them."""
    total_ms = silence_ms + MAX_KEYS * _KEY_GAP_MS
    return {"initial_timeout_millis": silence_ms, "timeout_millis": total_ms}


def _digit_options() -> dict[str, Any]:
    """Return the options that accept every key, also #, and report them when no more follow."""
    return {
        "minimum_digits": 1,
        "maximum_digits": MAX_KEYS,
        "inter_digit_timeout_millis": _KEY_GAP_MS,
        "valid_digits": "0123456789*#",
        "terminating_digit": "",
    }


def _short_pause() -> dict[str, Any]:
    return {"command": "gather", **_gather_timeouts(_PAUSE_MS), **_digit_options()}


def _start_recording(channels: str) -> dict[str, Any]:
    return {"command": "start_recording", "format": "wav", "channels": channels}
