"""Who we are at Twilio, where its requests find us, and how long we wait for its answers."""

import re
from dataclasses import dataclass, field
from typing import Self

from vca.settings import Settings
from vca.telephony.types import Account, AccountField

NAME = "twilio"
ACCOUNT_FIELDS = (
    AccountField(
        "account_sid",
        re.compile(r"AC[0-9a-f]{32}", re.ASCII),
        "The Account SID, as the Twilio Console shows it.",
        secret=False,
    ),
    AccountField(
        "auth_token",
        re.compile(r"[0-9a-f]{32}", re.ASCII),
        "The Auth Token: Twilio signs its requests with it, and we ours.",
    ),
    AccountField(
        "api_key",
        re.compile(r"SK[0-9a-f]{32}:[!-~]{16,128}", re.ASCII),
        "An API key that browsers log in by: its SID, a colon, its secret.",
        required=False,
    ),
)


@dataclass(frozen=True)
class TwilioCredentials:
    """An account and a token of it."""

    account_sid: str
    auth_token: str = field(repr=False)


@dataclass(frozen=True)
class ApiKey:
    """What access tokens of browsers are signed with: no Auth Token may do that."""

    sid: str
    secret: str = field(repr=False)


@dataclass(frozen=True)
class TwilioUrls:
    """Where Twilio finds us, where static documents are while we are away, where Twilio is.

    Each may be empty: we have no address, there are no documents, Twilio is where its SDK says.
    """

    callback_url: str
    fallback_url: str = ""
    api_base_url: str = ""

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """The deployment's."""
        base, fallback = settings.public_base_url, settings.carrier_fallback_url
        return cls(
            callback_url=f"{base}/telephony/{NAME}/" if base else "",
            fallback_url=f"{fallback}/{NAME}/" if fallback else "",
            api_base_url=settings.twilio_api_base_url,
        )


@dataclass(frozen=True)
class RestTimeouts:
    """Seconds: for all that one question to the adapter takes, for one answer, before a repetition.

    Only what may be done twice is asked twice, `attempts` times at most.
    """

    total_s: float = 9.0
    response_s: float = 4.0
    retry_pause_s: float = 0.3
    max_attempts: int = 2


def deployment_credentials(settings: Settings) -> tuple[TwilioCredentials, ...]:
    """The deployment's own account, the token that asks first; none when it is not configured."""
    return tuple(
        TwilioCredentials(settings.twilio_account_sid, token)
        for token in settings.twilio_auth_token
    )


def deployment_api_key(settings: Settings) -> ApiKey | None:
    """The deployment's own API key; None when it is not configured."""
    if not settings.twilio_api_key_sid:
        return None
    return ApiKey(settings.twilio_api_key_sid, settings.twilio_api_key_secret)


def account_credentials(account: Account | None) -> tuple[TwilioCredentials, ...]:
    """A tenant's own account, the present token first."""
    if account is None:
        return ()
    versions = (account.fields, account.previous)
    return tuple(
        TwilioCredentials(fields["account_sid"], fields["auth_token"])
        for fields in versions
        if fields is not None
    )


def account_api_key(account: Account | None) -> ApiKey | None:
    """A tenant's own API key, if its account has one."""
    sid_and_secret = account.fields.get("api_key") if account is not None else None
    return ApiKey(*sid_and_secret.split(":", 1)) if sid_and_secret is not None else None
