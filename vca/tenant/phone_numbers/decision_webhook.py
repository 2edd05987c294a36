"""The decision webhook of a number: the tenant's URL that decides how calls are answered.

Its signing secrets are stored as one encrypted document: the current secret and, for 24 hours after
a change, the previous one.
"""

from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from vca.kit import json, standard_webhooks
from vca.kit.encryption import DecryptionError, EncryptionContext
from vca.services import Services
from vca.tenant.phone_numbers import service

# For this long after a change requests bear both signatures, so that receivers can switch later.
OVERLAP = timedelta(hours=24)


def enable(
    session: Session, *, services: Services, phone_number_id: UUID, url: str, now: datetime
) -> str:
    """Set the number's decision webhook and return its new signing secret.

    The secret is not shown again. The URL must have been checked. The previous secret also signs
    for 24 hours, unless none of our keys can decrypt it. Raise NotFound.
    """
    number = service.get(session, phone_number_id=phone_number_id, for_update=True)
    keys, context = services.keyring, _encryption_context(number.tenant_id, number.id)
    secret = standard_webhooks.new_secret()
    document: dict[str, Any] = {"secret": secret}
    with suppress(DecryptionError):
        if number.decision_secret is not None:
            previous_secret = json.loads(keys.decrypt(number.decision_secret, context))["secret"]
            document |= {"previous": previous_secret, "previous_until": now + OVERLAP}
    number.decision_url = url
    number.decision_secret = keys.encrypt(json.dumps(document).decode(), context)
    number.updated_at = now
    session.flush()
    return secret


def disable(session: Session, *, phone_number_id: UUID, now: datetime) -> None:
    """Remove the number's decision webhook. Raise NotFound."""
    number = service.get(session, phone_number_id=phone_number_id, for_update=True)
    number.decision_url = number.decision_secret = None
    number.updated_at = now
    session.flush()


def signing_secrets(
    encrypted: bytes, *, services: Services, tenant_id: UUID, phone_number_id: UUID, now: datetime
) -> tuple[str, ...]:
    """Return the secrets that sign at this moment, newest first. Raise DecryptionError."""
    plaintext = services.keyring.decrypt(encrypted, _encryption_context(tenant_id, phone_number_id))
    document = json.loads(plaintext)
    previous_until = document.get("previous_until")
    if previous_until is None or datetime.fromisoformat(previous_until) <= now:
        return (document["secret"],)
    return document["secret"], document["previous"]


def _encryption_context(tenant_id: UUID, phone_number_id: UUID) -> EncryptionContext:
    return EncryptionContext(tenant_id, "phone_numbers", phone_number_id, "decision_secret")
