"""The contract of every carrier; `tests/contract/suites/telephony.py` tests it in that order."""

from abc import ABC, abstractmethod
from collections.abc import Generator, Iterable
from typing import ClassVar, Self
from uuid import UUID

from vca.settings import Settings
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
    Recording,
    WebRtcCredential,
    WebSocketFormat,
)


class TelephonyError(Exception):
    """A carrier did not do what it was asked.

    `permanent` decides on retry: a rejected number is, a time-out is not. `code` is the carrier's
    own where it gave one. `retry_after_s` is how long the carrier asked us to wait. `ambiguous`: it
    may have been done all the same, the answer alone was lost.
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
    """A request does not bear the signature of the carrier's account."""


class InvalidCarrierRequest(Exception):
    """A request is not one that this carrier sends."""


class TelephonyAdapter(ABC):
    """One carrier. An instance is shared by threads and keeps nothing about a call."""

    name: ClassVar[str]
    capabilities: ClassVar[Capabilities]
    actions: ClassVar[frozenset[str]]
    account_fields: ClassVar[tuple[AccountField, ...]] = ()
    """What a tenant's own account consists of; none where tenants cannot have one."""
    websocket_format: ClassVar[WebSocketFormat | None] = None
    """How its socket speaks; none where `capabilities` has no relay."""

    @classmethod
    @abstractmethod
    def from_settings(cls, settings: Settings) -> Self | None:
        """The deployment's own account with this carrier, or None when it is not configured.

        Must not touch the network: it runs when a process starts.
        """

    @classmethod
    @abstractmethod
    def from_account(cls, settings: Settings, account: Account | None) -> Self:
        """The same carrier with a tenant's own account, of `account_fields` as they should look.

        Without an account it reads and renders only: no signature is genuine, and whatever it is
        asked is TelephonyError(permanent=True). Must not touch the network.
        """

    @abstractmethod
    def register_number(self, tenant_id: UUID, phone_number_id: UUID, did_number: str) -> None:
        """Point the number at VCA and mark it as this tenant's at the carrier.

        Twice is the same as once. A number that the carrier's own record says is another tenant's
        is not touched: TelephonyError(permanent=True). Every other failure is a TelephonyError
        too, permanent if asking again cannot help. Within 10 s.
        """

    @abstractmethod
    def unregister_number(self, tenant_id: UUID, phone_number_id: UUID, did_number: str) -> None:
        """Undo exactly what `register_number` did.

        A number that is not registered, or not ours any more, is a success. Failures and time as
        above.
        """

    @abstractmethod
    def check_number(
        self, tenant_id: UUID, phone_number_id: UUID, did_number: str
    ) -> tuple[NumberSetting, ...]:
        """What the carrier holds of the number beside what registering it would set.

        `()`: the account has no such number. Changes nothing. Failures and time as above.
        """

    @abstractmethod
    def parse(self, request: CarrierRequest) -> CarrierEvent:
        """Read what the request says, trusting none of it.

        A withheld, anonymous or odd caller is read, never refused. Raises BadCarrierRequest for
        what this carrier would not send, whatever the bytes. Touches no network.
        """

    @abstractmethod
    def verify(self, request: CarrierRequest) -> None:
        """Check the signature over the raw body and the configured URL, in constant time.

        Raises SignatureRefused, also when there is no signature or it cannot be read.
        """

    def verify_websocket(self, request: CarrierRequest) -> None:
        """Check the signature of the request that opens a socket, as `verify` does; it has no body.

        `url` is what `Relay` was given. Where a carrier signs none, any is let in: it is then known
        by the token alone.
        """
        raise InvalidCarrierSignature("this carrier opens no sockets")

    @abstractmethod
    def on_inbound_call(self, call_metadata: CallMetadata) -> CallEvent:
        """The event by which a routed inbound call enters the record: INITIATED or RINGING.

        The same call always gives an event with the same key.
        """

    @abstractmethod
    def render(self, reply: CallReply, *, callback_url: str) -> CarrierResponse:
        """The reply in the carrier's own words: always valid, escaped and bounded.

        `callback_url` is `…/telephony/<carrier>/`, to which the carrier's next request goes with
        one of our `actions` appended. Text from a model or a tenant may hold anything.
        """

    def handle(
        self, carrier_event: CarrierEvent, reply: CallReply, *, callback_url: str
    ) -> CarrierResponse:
        """Have the call of these facts do this, and say what their request is answered with.

        Here the one is in the other. A carrier that is told by commands has done them by then, each
        once however often the same facts come. Failures as above.
        """
        return self.render(reply, callback_url=callback_url)

    @abstractmethod
    def hang_up(self, provider_call_id: str) -> None:
        """End a live call. One that has ended already is a success. Failures as above."""

    @abstractmethod
    def update_live_call(
        self, provider_call_id: str, reply: CallReply, *, callback_url: str
    ) -> None:
        """Have a live call do this now, whatever it is doing: speak, transfer, listen.

        `reply` and `callback_url` as for `render`. A call that has ended already is
        TelephonyError(permanent=True). Failures as above.
        """

    @abstractmethod
    def place_call(self, call: OutboundCall) -> str:
        """Dial a number; the carrier's id of the call. Its requests then come with `call.state`.

        Not repeatable: asked twice it dials twice. Failures as above; `ambiguous` unless it is
        certain that nothing was dialled. Within 10 s.
        """

    @abstractmethod
    def find_call(self, call: OutboundCall) -> str | None:
        """The id of the call that `place_call` made under the reference, however it has gone on.

        None: the carrier has none. Failures as above. What was placed is found within 30 s. A
        carrier that keeps no reference knows it by its numbers and `begun_at`; where several calls
        may be the one it fails, and never guesses.
        """

    @abstractmethod
    def find_call_status(self, provider_call_id: str) -> CallStatus | None:
        """How a call is at its carrier; None if the carrier does not know it. Failures as above.

        The same end of the same call always gives an event with the same key.
        """

    @abstractmethod
    def fetch_recording(
        self, provider_call_id: str, provider_recording_id: str | None = None
    ) -> Recording | None:
        """The finished call's audio, or None while the carrier has none or it is not ready.

        Without a `provider_recording_id` the call's first. Failures as above, also from the chunks
        while they are read; the time is to the first chunk. May be asked again at any time.
        """

    @abstractmethod
    def delete_recording(
        self, provider_call_id: str, provider_recording_id: str | None = None
    ) -> None:
        """Delete the carrier's copy of what `recording` gives; gone already is a success.

        Failures and time as above.
        """

    def create_webrtc_credential(
        self, did_number: str, *, identity: str, ttl_s: int
    ) -> WebRtcCredential:
        """Let a browser call as this number for so long. Failures and time as above.

        Asked only of a carrier that is capable of it. An account that lacks what it takes is
        TelephonyError(code="not-set-up").
        """
        raise TelephonyError("this carrier knows no browsers", permanent=True, code="no-webrtc")


def limit_size(
    chunks: Iterable[bytes], *, max_bytes: int = MAX_RECORDING_BYTES
) -> Generator[bytes, None, None]:
    """The chunks, cut off with a TelephonyError(permanent=True) once there are over `most` bytes.

    Closing it closes them.
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
