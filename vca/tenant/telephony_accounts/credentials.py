"""Credentials of a carrier account, stored as one encrypted document.

The document has the current fields, the time of each field's change, and for 24 hours the previous
fields. Non-secret fields are encrypted too, so that there is one column, one encryption context and
one key.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from uuid import UUID

from vca.kit import json
from vca.kit.encryption import EncryptionContext
from vca.services import Services
from vca.telephony.types import Account, AccountField

# For this long after a change both secrets are accepted, because the carrier's console and VCA
# are not updated at the same moment.
OVERLAP = timedelta(hours=24)


@dataclass(frozen=True)
class Credentials:
    """The fields by name, when each was last changed, and the fields before the last change."""

    fields: Mapping[str, str] = field(repr=False)
    changed: Mapping[str, datetime]
    previous: Mapping[str, str] | None = field(default=None, repr=False)
    previous_until: datetime | None = None

    def account(self, now: datetime) -> Account:
        """Return the account in the form that the carrier's adapter takes."""
        return Account(self.fields, self.previous if self._overlaps(now) else None)

    def accepted_until(self, now: datetime) -> datetime | None:
        """Return until when the previous fields are accepted too; None if they are not."""
        return self.previous_until if self._overlaps(now) else None

    def with_changes(
        self, changes: Mapping[str, str], *, secrets: Iterable[str], now: datetime
    ) -> "Credentials":
        """Return these credentials with changed fields.

        After a change of a secret the previous fields are accepted for 24 hours. A second change
        within that time drops the oldest fields.
        """
        new = {name: value for name, value in changes.items() if self.fields.get(name) != value}
        updated = replace(
            self,
            fields={**self.fields, **new},
            changed={**self.changed, **dict.fromkeys(new, now)},
        )
        if new.keys().isdisjoint(secrets):
            return updated
        return replace(updated, previous=self.fields, previous_until=now + OVERLAP)

    def _overlaps(self, now: datetime) -> bool:
        return self.previous_until is not None and now < self.previous_until


def new_credentials(fields: Mapping[str, str], *, now: datetime) -> Credentials:
    """Return credentials without a history."""
    return Credentials(dict(fields), dict.fromkeys(fields, now))


def are_valid(fields: Mapping[str, str], account_fields: Iterable[AccountField]) -> bool:
    """Return whether the fields are those of the carrier and have valid values."""
    fields_by_name = {account_field.name: account_field for account_field in account_fields}
    has_required = all(
        name in fields for name, account_field in fields_by_name.items() if account_field.required
    )
    return has_required and all(
        name in fields_by_name and fields_by_name[name].pattern.fullmatch(value)
        for name, value in fields.items()
    )


def encrypt_credentials(
    credentials: Credentials, *, services: Services, tenant_id: UUID, account_id: UUID
) -> bytes:
    """Return the encrypted document, which is bound to this account."""
    text = json.dumps(asdict(credentials)).decode()
    return services.keyring.encrypt(text, _encryption_context(tenant_id, account_id))


def decrypt_credentials(
    encrypted: bytes, *, services: Services, tenant_id: UUID, account_id: UUID
) -> Credentials:
    """Return the credentials of an encrypted document. Raise DecryptionError."""
    document = json.loads(
        services.keyring.decrypt(encrypted, _encryption_context(tenant_id, account_id))
    )
    previous_until = document["previous_until"]
    return Credentials(
        document["fields"],
        {
            name: datetime.fromisoformat(changed_at)
            for name, changed_at in document["changed"].items()
        },
        document["previous"],
        previous_until and datetime.fromisoformat(previous_until),
    )


def _encryption_context(tenant_id: UUID, account_id: UUID) -> EncryptionContext:
    return EncryptionContext(tenant_id, "telephony_accounts", account_id, "sealed")
