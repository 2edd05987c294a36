"""Keep a tenant's accounts: add, show without their secrets, change, remove."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from vca.kit import db
from vca.kit.at_rest import CannotOpen
from vca.kit.errors import Conflict, FieldError, InvalidInput, NotFound
from vca.kit.json import escaped
from vca.kit.paging import Listing, Page, PageRequest
from vca.telephony import providers
from vca.telephony.types import AccountField
from vca.tenancy.session import INSIDE
from vca.tenant.telephony_accounts import credentials
from vca.tenant.telephony_accounts.credentials import Credentials
from vca.tenant.telephony_accounts.models import TelephonyAccount

MOST = 20
_LISTING = Listing(TelephonyAccount, (TelephonyAccount.created_at, TelephonyAccount.id))
_NOBODY = Credentials({}, {})
# Says what needs an account: whatever names one is above them.
NeededBy = Callable[[Session, UUID], str | None]
_needed_by: NeededBy | None = None


class TooManyAccounts(Conflict):
    """There are as many accounts as there may be."""

    code = "too-many-accounts"

    def __init__(self) -> None:
        super().__init__(f"There are {MOST} accounts already: remove one first.")


class AccountInUse(Conflict):
    """Something needs this account."""

    code = "account-in-use"

    def __init__(self, by: str) -> None:
        super().__init__(f"The account is in use: {by}.")


def use(needed_by: NeededBy) -> None:
    """Have this asked what needs an account, before it is removed."""
    global _needed_by
    _needed_by = needed_by


def create(
    session: Session,
    *,
    provider_type: str,
    fields: Mapping[str, str],
    label: str | None = None,
    now: datetime,
) -> TelephonyAccount:
    """Keep an account. Raises InvalidInput and TooManyAccounts."""
    _check(fields, _wanted(provider_type))
    if (session.scalar(select(func.count()).select_from(TelephonyAccount)) or 0) >= MOST:
        raise TooManyAccounts
    row = TelephonyAccount(id=uuid4(), provider_type=provider_type, label=label)
    row.tenant_id = session.info[INSIDE].id
    _seal(row, credentials.fresh(fields, now=now))
    session.add(row)
    session.flush()
    return row


def get(
    session: Session, *, telephony_account_id: UUID, for_update: bool = False
) -> TelephonyAccount:
    """The account; raises NotFound."""
    held = for_update or None
    row = session.get(TelephonyAccount, telephony_account_id, with_for_update=held)
    if row is None:
        raise NotFound
    return row


def shown_page(session: Session, *, page: PageRequest, now: datetime) -> Page:
    """The tenant's accounts as they may be shown, oldest first."""
    found = _LISTING.page(session, page)
    return replace(found, items=[shown(row, now=now) for row in found.items])


def change(
    session: Session,
    *,
    telephony_account_id: UUID,
    now: datetime,
    fields: Mapping[str, str] | None = None,
    **given: Any,
) -> TelephonyAccount:
    """Change what is given; with a new secret those before are accepted for a day.

    Where our keys do not open what was kept, all fields must be given. Raises NotFound and
    InvalidInput.
    """
    row = get(session, telephony_account_id=telephony_account_id, for_update=True)
    for name, value in given.items():
        setattr(row, name, value)
    if fields:
        before, wanted = _opened(row), _wanted(row.provider_type)
        _check({**before.fields, **fields}, wanted)
        secrets = [each.name for each in wanted if each.secret] if before.fields else []
        _seal(row, before.with_changes(fields, secrets=secrets, now=now))
    row.updated_at = now
    session.flush()
    return row


def remove(session: Session, *, telephony_account_id: UUID) -> None:
    """Forget an account. Raises NotFound, and AccountInUse with what needs it."""
    row = get(session, telephony_account_id=telephony_account_id, for_update=True)
    by = _needed_by(session, telephony_account_id) if _needed_by is not None else None
    if by is not None:
        raise AccountInUse(by)
    session.delete(row)
    try:
        session.flush()
    except IntegrityError as error:
        if db.constraint(error) == "phone_numbers_telephony_account_id_fkey":
            raise AccountInUse("a phone number names it") from None
        raise


def shown(row: Any, *, now: datetime) -> dict[str, Any]:
    """An account, or a row of one, as it may be shown: of secrets only that they are set."""
    kept, kind = _opened(row), providers.current().kind(row.provider_type)
    public = {each.name for each in (kind.account_fields if kind else ()) if not each.secret}
    secrets = [{"name": it, "changed_at": at} for it, at in kept.changed.items()]
    names = ("id", "tenant_id", "provider_type", "label", "created_at", "updated_at")
    return {
        **{name: getattr(row, name) for name in names},
        "fields": {name: value for name, value in kept.fields.items() if name in public},
        "secrets": [each for each in secrets if each["name"] not in public],
        "previous_accepted_until": kept.accepted_until(now),
    }


def _wanted(provider_type: str) -> tuple[AccountField, ...]:
    """What an account with this carrier consists of; raises InvalidInput where there is none."""
    kind = providers.current().kind(provider_type)
    if kind is None or not kind.account_fields:
        detail = "There is no such carrier, or it takes no accounts of tenants."
        raise InvalidInput.field("provider_type", detail)
    return kind.account_fields


def _check(fields: Mapping[str, str], wanted: tuple[AccountField, ...]) -> None:
    if not credentials.fit(fields, wanted):
        raise InvalidInput("The request is not valid.", errors=list(_faults(fields, wanted)))


def _faults(fields: Mapping[str, str], wanted: tuple[AccountField, ...]) -> Iterator[FieldError]:
    known = {each.name: each for each in wanted}
    for name in fields.keys() - known.keys():
        yield FieldError(f"/fields/{escaped(name)}", "Unknown field.")
    for name, each in known.items():
        if name not in fields:
            if each.required:
                yield FieldError(f"/fields/{name}", f"Missing. {each.description}")
        elif not each.pattern.fullmatch(fields[name]):
            yield FieldError(f"/fields/{name}", f"Does not look like one. {each.description}")


def _seal(row: TelephonyAccount, kept: Credentials) -> None:
    row.sealed = credentials.sealed(kept, tenant_id=row.tenant_id, account_id=row.id)


def _opened(row: Any) -> Credentials:
    """What is kept; nothing where our keys do not open it."""
    try:
        return credentials.opened(row.sealed, tenant_id=row.tenant_id, account_id=row.id)
    except CannotOpen:
        return _NOBODY
