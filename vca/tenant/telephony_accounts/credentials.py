"""What an account consists of, as one sealed document: now, since when, and for a day before that.

All of it is sealed, also what is no secret: one column, one place, one key.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from uuid import UUID

from vca.kit import at_rest, json
from vca.kit.at_rest import Place
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
        self, given: Mapping[str, str], *, secrets: Iterable[str], now: datetime
    ) -> "Credentials":
        """The same with these fields; with a new secret those before are accepted for a day.

        Changed twice within the day, the first of the three is forgotten.
        """
        new = {name: value for name, value in given.items() if self.fields.get(name) != value}
        changed = replace(
            self,
            fields={**self.fields, **new},
            changed={**self.changed, **dict.fromkeys(new, now)},
        )
        if new.keys().isdisjoint(secrets):
            return changed
        return replace(changed, previous=self.fields, previous_until=now + OVERLAP)

    def _overlaps(self, now: datetime) -> bool:
        return self.previous_until is not None and now < self.previous_until


def fresh(fields: Mapping[str, str], *, now: datetime) -> Credentials:
    """Credentials that were never others."""
    return Credentials(dict(fields), dict.fromkeys(fields, now))


def fit(fields: Mapping[str, str], wanted: Iterable[AccountField]) -> bool:
    """Whether the fields are those that a carrier wants, and look as they should."""
    known = {each.name: each for each in wanted}
    whole = all(name in fields for name, each in known.items() if each.required)
    return whole and all(
        name in known and known[name].pattern.fullmatch(value) for name, value in fields.items()
    )


def sealed(kept: Credentials, *, tenant_id: UUID, account_id: UUID) -> bytes:
    """The document for this account alone."""
    text = json.dumps(asdict(kept)).decode()
    return at_rest.current().seal(text, _place(tenant_id, account_id))


def opened(value: bytes, *, tenant_id: UUID, account_id: UUID) -> Credentials:
    """What `sealed` sealed; raises CannotOpen."""
    kept = json.loads(at_rest.current().open(value, _place(tenant_id, account_id)))
    until = kept["previous_until"]
    return Credentials(
        kept["fields"],
        {name: datetime.fromisoformat(at) for name, at in kept["changed"].items()},
        kept["previous"],
        until and datetime.fromisoformat(until),
    )


def _place(tenant_id: UUID, account_id: UUID) -> Place:
    return Place(tenant_id, "telephony_accounts", account_id, "sealed")
