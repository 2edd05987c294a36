"""Send commands to a call: those of a reply, and those of a live update."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any
from uuid import NAMESPACE_URL, uuid4, uuid5

from vca.kit import clock
from vca.telephony import dial_permit
from vca.telephony.adapter import TelephonyError
from vca.telephony.dial_permit import DialPermit
from vca.telephony.providers.telnyx import api, client_state, command_builder, languages
from vca.telephony.providers.telnyx.api import ApiSession
from vca.telephony.providers.telnyx.client_state import Command, Leg, LegState, Phase
from vca.telephony.providers.telnyx.command_builder import PERMIT, CommandPlan
from vca.telephony.state_signature import StateSigner
from vca.telephony.types import (
    CallReply,
    CarrierEvent,
    HangUp,
    Listen,
    OutboundCall,
    Reject,
)

# Telnyx has done it already, or there is nothing to stop.
_ALREADY_DONE_CODES = frozenset({"90054"})
_STOP_COMMANDS = ("stop_gather", "stop_playback", "stop_transcription", "stop_conversation_relay")
_STOP_GATHER: tuple[Command, ...] = ({"command": "stop_gather"},)
_STOP_RELAY: tuple[Command, ...] = ({"command": "stop_conversation_relay"},)
_STOP_SPEAKING: tuple[Command, ...] = ({"command": "stop_playback", "stop": "all"},)
# How to stop what a leg is doing, by its phase, before it does something else.
_STOP_BY_PHASE = {"listening": _STOP_GATHER, "relay": _STOP_RELAY}
# For a leg whose state is unknown. Telnyx's errors about commands that do not apply are ignored.
_STOP_EVERYTHING = (*_STOP_GATHER, *_STOP_RELAY, *_STOP_SPEAKING)
_RING_TIMEOUT_RANGE_S = (5, 600)
_CALL_ENDED = "the call has ended"


@dataclass(frozen=True)
class CallControl:
    """A call to send commands to.

    `idempotency_seed` identifies the request that the commands respond to. Telnyx executes commands
    with the same seed once. `session_id` is Telnyx's id of all legs of the call.
    """

    session: ApiSession
    signer: StateSigner
    call_id: str
    idempotency_seed: str
    callback_url: str = ""
    own_number: str = ""
    session_id: str = ""

    def execute_plan(self, plan: CommandPlan, *, first: tuple[Command, ...] = ()) -> None:
        """Send the immediate commands, and leave the others with the call until it has spoken."""
        immediate, deferred = command_builder.drop_empty_speech(plan).split_after_speech()
        leg_state = self.leg_state(plan.phase, plan.state)
        if deferred:
            rest = tuple(self._sign_permit(command) for command in deferred)
            leg_state = replace(leg_state, phase="then", rest=rest, after=plan.phase)
        for step, command in enumerate((*first, *immediate)):
            self.send_command(command, leg_state, step=step)

    def leg_state(self, phase: Phase, state: str | None) -> LegState:
        """Return a state of the call's own leg, or of the target of its transfer."""
        return LegState(phase, state, self.call_id, self.own_number, session=self.session_id)

    def send_command(
        self, command: Command, leg_state: LegState | None = None, *, step: int = 0
    ) -> None:
        """Send one command. Raises TelephonyError."""
        arguments = dict(command)
        command_name = arguments.pop("command")
        if command_name == "transfer":
            self._require_permit(command)
        if leg_state is not None:
            arguments |= {"client_state": leg_state.encode(self.signer)}
        if command_name == "transfer":
            arguments |= self._target_leg_arguments(leg_state)
        if command_name in ("answer", "transfer"):
            arguments |= {
                "webhook_url": events_url(self.callback_url),
                "webhook_url_method": "POST",
            }
        arguments["command_id"] = str(
            uuid5(NAMESPACE_URL, f"{self.call_id}:{self.idempotency_seed}:{step}")
        )
        action = getattr(self.session.client.calls.actions, command_name)
        self._send_tolerantly(
            command_name, partial(self.session, action, self.call_id, **arguments)
        )

    def _sign_permit(self, command: Command) -> Command:
        permit = command.get(PERMIT)
        if not isinstance(permit, DialPermit):
            return command
        now = clock.now()
        token = dial_permit.sign(permit, self.signer, call=self.call_id, now=now)
        return {**command, PERMIT: token}

    def _require_permit(self, command: Command) -> None:
        """Raise TelephonyError unless the number of a transfer may be dialled now."""
        permit = command.get(PERMIT)
        if isinstance(permit, DialPermit) and permit.number == command["to"]:
            return
        if not _is_signed_for(command, self.call_id, self.signer, clock.now()):
            raise TelephonyError(
                "the number may not be dialled", permanent=True, code="not-permitted"
            )

    def _target_leg_arguments(self, leg_state: LegState | None) -> dict[str, str]:
        """Return the target leg's client state, and the caller id that it sees.

        The caller id is our number, whatever the direction of the call.
        """
        returns_to_us = leg_state is not None and leg_state.phase == "transfer"
        state = leg_state.state if leg_state is not None and returns_to_us else None
        target = self.leg_state("target", state)
        caller_id = {"from_": self.own_number} if self.own_number else {}
        return {**caller_id, "target_leg_client_state": target.encode(self.signer)}

    def _send_tolerantly(self, command_name: str, request: Callable[[], Any]) -> None:
        try:
            request()
        except TelephonyError as error:
            is_harmless = (
                command_name in _STOP_COMMANDS
                and error.permanent
                and error.code not in api.CALL_ENDED_CODES
            )
            if not is_harmless and error.code not in _ALREADY_DONE_CODES:
                raise


def has_unpermitted_dial(
    leg_state: LegState | None, *, call_id: str, signer: StateSigner, now: datetime
) -> bool:
    """Return whether commands that are due would dial a number without a valid permission."""
    return leg_state is not None and any(
        command["command"] == "transfer" and not _is_signed_for(command, call_id, signer, now)
        for command in leg_state.rest
    )


def _is_signed_for(command: Command, call_id: str, signer: StateSigner, now: datetime) -> bool:
    number = command.get("to")
    return isinstance(number, str) and dial_permit.is_signed_for(
        command.get(PERMIT), signer, number=number, call=call_id, now=now
    )


def events_url(callback_url: str) -> str:
    """Return the URL for a call's events."""
    return f"{callback_url}events"


def answer_or_reject(call_control: CallControl, reply: CallReply) -> None:
    """Answer a ringing call, or reject it. The rest of the reply follows once it is answered."""
    if not reply.actions:
        return
    if isinstance(reply.actions[0], Reject | HangUp):
        call_control.execute_plan(
            command_builder.build_plan(replace(reply, actions=reply.actions[:1]))
        )
    else:
        call_control.send_command(
            {"command": "answer"}, call_control.leg_state("ring", reply.state)
        )


def continue_call(
    call_control: CallControl,
    carrier_event: CarrierEvent,
    deferred: LegState | None,
    reply: CallReply,
) -> None:
    """Execute the reply, or the deferred commands, which had to wait until now."""
    if _is_silence(carrier_event) and _has_newer_turn(call_control, carrier_event):
        return
    if reply.actions:
        call_control.execute_plan(
            command_builder.build_plan(reply), first=_preparatory_commands(carrier_event, reply)
        )
    elif carrier_event.kind == "progress" and deferred is not None:
        call_control.execute_plan(CommandPlan(deferred.rest, deferred.after, deferred.state))


def _is_silence(carrier_event: CarrierEvent) -> bool:
    return carrier_event.kind == "speech" and not carrier_event.speech


def _has_newer_turn(call_control: CallControl, carrier_event: CarrierEvent) -> bool:
    """Return whether another turn was answered in the meantime.

    A transcript arrives late, while the end of a silence arrives on time.
    """
    status = find_status(call_control.session, call_control.call_id)
    leg_state = leg_state_of(status, call_control.signer) if status is not None else None
    return leg_state is not None and leg_state.state != carrier_event.state


def _preparatory_commands(carrier_event: CarrierEvent, reply: CallReply) -> tuple[Command, ...]:
    """Return the commands that must precede the reply.

    They start the transcription if it does not run yet, and stop the current speech when the caller
    barges in.
    """
    listens = [action for action in reply.actions if isinstance(action, Listen)]
    if carrier_event.kind in ("call", "answered", "leg", "relayed") and listens:
        return (_start_transcription(listens[0]),)
    is_barge_in = carrier_event.kind == "speech" and carrier_event.speech
    return () if not is_barge_in or isinstance(reply.actions[0], HangUp) else _STOP_GATHER


def _start_transcription(listen: Listen) -> Command:
    language = languages.recognition_language(listen.language)
    return {
        "command": "start_transcription",
        "transcription_engine": "Google",
        "transcription_engine_config": {"transcription_engine": "Google", "language": language},
        "transcription_tracks": "inbound",
    }


def update_live_call(
    session: ApiSession,
    signer: StateSigner,
    call_id: str,
    reply: CallReply,
    *,
    callback_url: str,
) -> None:
    """Make a live call execute the reply now. Its state says what has to stop."""
    status = find_status(session, call_id)
    if status is None or has_ended(status):
        raise TelephonyError(_CALL_ENDED, permanent=True, code="90018")
    leg_state = leg_state_of(status, signer)
    call_control = CallControl(
        session,
        signer,
        call_id,
        uuid4().hex,
        callback_url,
        leg_state.own_number if leg_state else "",
        str(status.call_session_id or ""),
    )
    stop_commands = (
        _STOP_BY_PHASE.get(leg_state.phase, _STOP_SPEAKING) if leg_state else _STOP_EVERYTHING
    )
    call_control.execute_plan(command_builder.build_plan(reply), first=stop_commands)


def hang_up(session: ApiSession, signer: StateSigner, call_id: str) -> None:
    """End a call. Succeeds if it has already ended."""
    try:
        CallControl(session, signer, call_id, "hang-up").send_command({"command": "hangup"})
    except TelephonyError as error:
        if error.code not in api.CALL_ENDED_CODES | api.NOT_FOUND_CODES:
            raise


def find_status(session: ApiSession, call_id: str) -> Any:
    """Return a call's status at Telnyx, or None if Telnyx does not know the call."""
    try:
        return api.require_data(session(session.client.calls.retrieve_status, call_id))
    except TelephonyError as error:
        if error.code in api.NOT_FOUND_CODES:
            return None
        raise


def leg_state_of(status: Any, signer: StateSigner) -> LegState | None:
    """Return our state of the call that has this status, or None."""
    leg = Leg(str(status.call_control_id or ""), str(status.call_session_id or ""))
    return client_state.decode(status.client_state, signer, leg)


def has_ended(status: Any) -> bool:
    """Return whether a call has ended. A call that is being dialled is not `alive` either."""
    return not status.is_alive and bool(status.end_time)


def dial(session: ApiSession, signer: StateSigner, call: OutboundCall, connection_id: str) -> str:
    """Dial a number once and return the call's id."""
    leg_state = LegState("dial", call.state, own_number=call.from_number, reference=call.reference)
    try:
        response = session(
            session.client.calls.dial,
            retry=False,
            connection_id=connection_id,
            to=call.permit.number,
            from_=call.from_number,
            timeout_secs=max(
                _RING_TIMEOUT_RANGE_S[0], min(call.timeout_s, _RING_TIMEOUT_RANGE_S[1])
            ),
            client_state=leg_state.encode(signer),
            command_id=str(uuid5(NAMESPACE_URL, f"dial:{call.reference}")),
            webhook_url=events_url(call.callback_url),
            webhook_url_method="POST",
        )
    except TelephonyError as error:
        raise _dial_error(error) from error
    return str(api.require_data(response).call_control_id)


def _dial_error(error: TelephonyError) -> TelephonyError:
    """Return the error, with the contract's code if Telnyx says that the number is invalid."""
    if error.code not in ("10002", "10016"):
        return error
    return TelephonyError(str(error), permanent=True, code="invalid-number")
