"""What an account consists of, as one sealed document: now, since when, and for a day before that.

All of it is sealed, also what is no secret: one column, one place, one key.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from uuid import UUID

from vca.kit import encryption, json
from vca.kit.encryption import EncryptionContext
from vca.telephony.types import Account, AccountField

# A carrier's console and we are not changed at the same moment: for so long both are accepted.
OVERLAP = timedelta(hours=24)


@dataclass(frozen=True)
class Credentials:
    """The fields by their names, when each was last changed, and those before the last change."""

    fields: Mapping[str, str] = field(repr=False)
    changed: Mapping[str, datetime]
    previous: Mapping[str, str] | None = field(default=None, repr=False)
    previous_until: datetime | None = None

    def account(self, now: datetime) -> Account:
        """The account as its carrier's adapter takes it at this moment."""
        return Account(self.fields, self.previous if self._overlaps(now) else None)

    def accepted_until(self, now: datetime) -> datetime | None:
        """Until when the fields before are accepted too; None: they are not."""
        return self.previous_until if self._overlaps(now) else None

    def with_changes(
        self, changes: Mapping[str, str], *, secrets: Iterable[str], now: datetime
    ) -> "Credentials":
        """The same with these fields; with a new secret those before are accepted for a day.

        Changed twice within the day, the first of the three is forgotten.
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
    """Credentials that were never others."""
    return Credentials(dict(fields), dict.fromkeys(fields, now))


def are_valid(fields: Mapping[str, str], account_fields: Iterable[AccountField]) -> bool:
    """Whether the fields are those that a carrier wants, and look as they should."""
    fields_by_name = {account_field.name: account_field for account_field in account_fields}
    has_required = all(
        name in fields for name, account_field in fields_by_name.items() if account_field.required
    )
    return has_required and all(
        name in fields_by_name and fields_by_name[name].pattern.fullmatch(value)
        for name, value in fields.items()
    )


def encrypt_credentials(credentials: Credentials, *, tenant_id: UUID, account_id: UUID) -> bytes:
    """The document for this account alone."""
    text = json.dumps(asdict(credentials)).decode()
    return encryption.current_keyring().encrypt(text, _encryption_context(tenant_id, account_id))


def decrypt_credentials(encrypted: bytes, *, tenant_id: UUID, account_id: UUID) -> Credentials:
    """What `sealed` sealed; raises CannotOpen."""
    document = json.loads(
        encryption.current_keyring().decrypt(encrypted, _encryption_context(tenant_id, account_id))
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
