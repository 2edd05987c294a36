"""Twilio credentials, URLs and timeouts."""

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
        "Account SID, as shown in the Twilio Console.",
        secret=False,
    ),
    AccountField(
        "auth_token",
        re.compile(r"[0-9a-f]{32}", re.ASCII),
        "Auth Token. Twilio signs its requests with it; VCA authenticates with it.",
    ),
    AccountField(
        "api_key",
        re.compile(r"SK[0-9a-f]{32}:[!-~]{16,128}", re.ASCII),
        "API key for WebRTC access tokens, as its SID, a colon and its secret.",
        required=False,
    ),
)


@dataclass(frozen=True)
class TwilioCredentials:
    """An account and one of its auth tokens."""

    account_sid: str
    auth_token: str = field(repr=False)


@dataclass(frozen=True)
class ApiKey:
    """The key that signs browsers' access tokens. An auth token cannot sign them."""

    sid: str
    secret: str = field(repr=False)


@dataclass(frozen=True)
class TwilioUrls:
    """Our callback URL, the URL of static fallback documents, and Twilio's API URL.

    Each may be empty: without a public address, without fallback documents, or to use the SDK's
    URL.
    """

    callback_url: str
    fallback_url: str = ""
    api_base_url: str = ""

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """Return the deployment's URLs."""
        base, fallback = settings.public_base_url, settings.carrier_fallback_url
        return cls(
            callback_url=f"{base}/telephony/{NAME}/" if base else "",
            fallback_url=f"{fallback}/{NAME}/" if fallback else "",
            api_base_url=settings.twilio_api_base_url,
        )


@dataclass(frozen=True)
class RestTimeouts:
    """Time limits in seconds: for a whole operation, for one response, and before a retry.

    Only requests that may be repeated are retried, for at most `max_attempts` attempts.
    """

    total_s: float = 9.0
    response_s: float = 4.0
    retry_pause_s: float = 0.3
    max_attempts: int = 2


def deployment_credentials(settings: Settings) -> tuple[TwilioCredentials, ...]:
    """Return the deployment's credentials, the token for requests first. Empty if not set."""
    return tuple(
        TwilioCredentials(settings.twilio_account_sid, token)
        for token in settings.twilio_auth_token
    )


def deployment_api_key(settings: Settings) -> ApiKey | None:
    """Return the deployment's API key, or None if it is not configured."""
    if not settings.twilio_api_key_sid:
        return None
    return ApiKey(settings.twilio_api_key_sid, settings.twilio_api_key_secret)


def account_credentials(account: Account | None) -> tuple[TwilioCredentials, ...]:
    """Return the credentials of a tenant's own account, the current token first."""
    if account is None:
        return ()
    versions = (account.fields, account.previous)
    return tuple(
        TwilioCredentials(fields["account_sid"], fields["auth_token"])
        for fields in versions
        if fields is not None
    )


def account_api_key(account: Account | None) -> ApiKey | None:
    """Return the API key of a tenant's own account, or None if it has none."""
    sid_and_secret = account.fields.get("api_key") if account is not None else None
    return ApiKey(*sid_and_secret.split(":", 1)) if sid_and_secret is not None else None
