"""The contract that every carrier adapter implements.

Its test suite, `tests/contract/suites/telephony/`, follows the same order.
"""

from abc import ABC, abstractmethod
from collections.abc import Generator, Iterable, Sequence
from typing import ClassVar, Self
from uuid import UUID

from vca.kit.number_ranges import NumberRange
from vca.settings import Settings
from vca.telephony.turn_settings import SpokenLanguage
from vca.telephony.types import (
    MAX_RECORDING_BYTES,
    Account,
    AccountField,
    CallEvent,
    CallMetadata,
    CallReply,
    CallStatus,
    Capabilities,
    CarrierEvent,
    CarrierRequest,
    CarrierResponse,
    NumberSetting,
    OutboundCall,
    PlacedCallQuery,
    Recording,
    WebRtcCredential,
    WebSocketFormat,
)


class TelephonyError(Exception):
    """A carrier operation failed.

    `permanent` decides on retry: a rejected number is permanent, a timeout is not. `code` is the
    carrier's own error code, if it sent one. `retry_after_s` is how long the carrier asked us to
    wait. `ambiguous` means that the carrier may have carried out the operation although its
    response was lost.
    """

    def __init__(
        self,
        message: str,
        *,
        permanent: bool,
        code: str = "",
        retry_after_s: int | None = None,
        ambiguous: bool = False,
    ) -> None:
        super().__init__(message)
        self.permanent = permanent
        self.code = code
        self.retry_after_s = retry_after_s
        self.ambiguous = ambiguous


class InvalidCarrierSignature(Exception):
    """A request is not signed by the carrier's account."""


class InvalidCarrierRequest(Exception):
    """A request is not one that this carrier sends."""


class TelephonyAdapter(ABC):
    """One account with a carrier. Threads share an instance; it stores nothing about a call."""

    name: ClassVar[str]
    capabilities: ClassVar[Capabilities]
    actions: ClassVar[frozenset[str]]
    account_fields: ClassVar[tuple[AccountField, ...]] = ()
    """The fields of a tenant's own account; empty if tenants cannot have one."""
    websocket_format: ClassVar[WebSocketFormat | None] = None
    """The format of its WebSocket frames; None if `capabilities.relay` is false."""
    added_ranges: Sequence[NumberRange] = ()
    """The ranges that the deployment adds to the numbering plans of libphonenumber."""

    @classmethod
    @abstractmethod
    def from_settings(cls, settings: Settings) -> Self | None:
        """Return the deployment's own account with this carrier, or None if it is not configured.

        Must not use the network, because it runs when a process starts.
        """

    @classmethod
    @abstractmethod
    def from_account(cls, settings: Settings, account: Account | None) -> Self:
        """Return the same carrier with a tenant's own account.

        The account's fields match `account_fields`. Without an account the adapter only parses and
        renders: no signature is valid, and every operation raises TelephonyError(permanent=True).
        Must not use the network.
        """

    @abstractmethod
    def register_number(self, tenant_id: UUID, phone_number_id: UUID, did_number: str) -> None:
        """Point the number at VCA and tag it at the carrier with this tenant.

        Idempotent. A number that belongs to another tenant by the carrier's own record is not
        changed: TelephonyError(permanent=True). Every other failure is a TelephonyError too,
        permanent if a retry cannot help. Takes at most 10 s.
        """

    @abstractmethod
    def unregister_number(self, tenant_id: UUID, phone_number_id: UUID, did_number: str) -> None:
        """Undo exactly what `register_number` did.

        Succeeds if the number is not registered or is no longer ours. Failures and time limit as
        for `register_number`.
        """

    @abstractmethod
    def check_number(
        self, tenant_id: UUID, phone_number_id: UUID, did_number: str
    ) -> tuple[NumberSetting, ...]:
        """Compare the number's settings at the carrier with those that registering it would set.

        Return `()` if the account has no such number. Changes nothing. Failures and time limit as
        for `register_number`.
        """

    @abstractmethod
    def parse(self, request: CarrierRequest) -> CarrierEvent:
        """Parse a webhook without trusting any of it.

        A state that the carrier returns counts only if we have signed all of it, for this call and
        leg, because anybody may have chosen it. Otherwise the event belongs to the request's call.
        Accepts a withheld, anonymous or malformed caller. Raises InvalidCarrierRequest for anything
        that this carrier would not send, whatever the bytes. Does not use the network.
        """

    @abstractmethod
    def verify(self, request: CarrierRequest) -> None:
        """Check the signature over the raw body and the configured URL, in constant time.

        Raises InvalidCarrierSignature, also if the signature is missing or unreadable.
        """

    def verify_websocket(self, request: CarrierRequest) -> None:
        """Check the signature of a WebSocket handshake as `verify` does; a handshake has no body.

        `url` is the one that `Relay` contained. A carrier that does not sign handshakes accepts all
        of them; our tokens alone then authenticate the connection.
        """
        raise InvalidCarrierSignature("this carrier does not open WebSockets")

    def websocket_language(self, spoken: SpokenLanguage) -> str:
        """Return the name of a language in WebSocket frames; `Relay` uses the same name."""
        return spoken.language

    @abstractmethod
    def on_inbound_call(self, call_metadata: CallMetadata) -> CallEvent:
        """Return the first event of a routed inbound call: INITIATED or RINGING.

        The same call always returns an event with the same key.
        """

    @abstractmethod
    def render(self, reply: CallReply, *, callback_url: str) -> CarrierResponse:
        """Render the reply in the carrier's own format: always valid, escaped and bounded.

        `callback_url` is `…/telephony/<carrier>/`. The carrier sends the call's next request to it,
        with one of our `actions` appended. Text from a model or a tenant may contain anything.
        """

    def handle(
        self, carrier_event: CarrierEvent, reply: CallReply, *, callback_url: str
    ) -> CarrierResponse:
        """Execute the reply on the call of this event, and return the response to the carrier.

        By default the response contains the reply. An adapter that controls calls by commands has
        executed them when this returns, each of them once even if the same event arrives again.
        Failures as for `register_number`.
        """
        return self.render(reply, callback_url=callback_url)

    @abstractmethod
    def hang_up(self, provider_call_id: str) -> None:
        """End a live call. Succeeds if it has already ended.

        Failures as for `register_number`.
        """

    @abstractmethod
    def update_live_call(
        self, provider_call_id: str, reply: CallReply, *, callback_url: str
    ) -> None:
        """Make a live call execute the reply now, whatever it is doing: speak, transfer, listen.

        `reply` and `callback_url` as for `render`. Raises TelephonyError(permanent=True) if the
        call has already ended. Other failures as for `register_number`.
        """

    @abstractmethod
    def place_call(self, call: OutboundCall) -> str:
        """Dial the permitted number and return the carrier's id of the call.

        Its requests contain `call.state`.

        Not idempotent: called twice, it dials twice. Failures as for `register_number`; `ambiguous`
        unless it is certain that nothing was dialled. Takes at most 10 s.
        """

    @abstractmethod
    def find_call(self, query: PlacedCallQuery) -> str | None:
        """Return the id of the call that `place_call` created under the reference, in any state.

        None if the carrier has no such call. A placed call can be found within 30 s. A carrier that
        does not store the reference identifies the call by its numbers and `begun_at`; if several
        calls match, it raises TelephonyError and never guesses. Failures as for `register_number`.
        """

    @abstractmethod
    def find_call_status(self, provider_call_id: str) -> CallStatus | None:
        """Return a call's status at its carrier, or None if the carrier does not know the call.

        The same end of the same call always returns an event with the same key. Failures as for
        `register_number`.
        """

    @abstractmethod
    def fetch_recording(
        self, provider_call_id: str, provider_recording_id: str | None = None
    ) -> Recording | None:
        """Return the finished call's audio, or None while the carrier has none or it is not ready.

        Without a `provider_recording_id` return the call's first recording. Failures as for
        `register_number`, also while the chunks are read; the time limit ends with the first chunk.
        May be repeated at any time.
        """

    @abstractmethod
    def delete_recording(
        self, provider_call_id: str, provider_recording_id: str | None = None
    ) -> None:
        """Delete the carrier's copy of the recording. Succeeds if it no longer exists.

        Failures and time limit as for `register_number`.
        """

    @property
    def supports_webrtc(self) -> bool:
        """Whether browsers can call through this account, and dial nothing that VCA has not seen.

        As `capabilities.webrtc` says, unless it depends on the account's settings.
        """
        return self.capabilities.webrtc

    def check_webrtc(self) -> tuple[NumberSetting, ...]:
        """Compare the account's settings at the carrier with what browser calls need.

        Return `()` if they need none, or if browsers cannot use the account. Changes nothing.
        Failures and time limit as for `register_number`.
        """
        return ()

    def create_webrtc_credential(
        self, did_number: str, *, identity: str, ttl_s: int
    ) -> WebRtcCredential:
        """Create a credential with which a browser calls as this number for `ttl_s` seconds.

        The carrier stores the number with the credential, and asks VCA what a call of the browser
        reaches. Called only if `supports_webrtc` is true. Raises
        TelephonyError(code="not-set-up") if the account lacks the necessary configuration. Other
        failures and time limit as for `register_number`.
        """
        raise TelephonyError(
            "this carrier does not support WebRTC", permanent=True, code="no-webrtc"
        )


def limit_size(
    chunks: Iterable[bytes], *, max_bytes: int = MAX_RECORDING_BYTES
) -> Generator[bytes, None, None]:
    """Yield the chunks; raise TelephonyError(permanent=True) after more than `max_bytes` bytes.

    Closing this generator closes the chunks.
    """
    size_bytes = 0
    try:
        for chunk in chunks:
            size_bytes += len(chunk)
            if size_bytes > max_bytes:
                raise TelephonyError("the recording is too large", permanent=True, code="too-large")
            yield chunk
    finally:
        close = getattr(chunks, "close", None)
        if close is not None:
            close()
