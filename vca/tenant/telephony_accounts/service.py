"""Create, list, update and delete a tenant's carrier accounts; secrets are never returned."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from vca.kit import db
from vca.kit.encryption import DecryptionError
from vca.kit.errors import Conflict, FieldError, InvalidInput, NotFound
from vca.kit.json import escape_pointer_step
from vca.kit.paging import Listing, Page, PageRequest
from vca.registry import caps
from vca.services import Services
from vca.telephony.types import AccountField
from vca.tenancy.session import SESSION_TENANT
from vca.tenant.telephony_accounts import credentials
from vca.tenant.telephony_accounts.credentials import Credentials
from vca.tenant.telephony_accounts.models import TelephonyAccount

_LISTING = Listing(TelephonyAccount, (TelephonyAccount.created_at, TelephonyAccount.id))
_NO_CREDENTIALS = Credentials({}, {})


class AccountInUse(Conflict):
    """Something uses this account."""

    code = "account-in-use"

    def __init__(self, reason: str) -> None:
        super().__init__(f"The account is in use: {reason}.")


def create(
    session: Session,
    *,
    services: Services,
    provider_type: str,
    fields: Mapping[str, str],
    label: str | None = None,
    now: datetime,
) -> TelephonyAccount:
    """Create an account. Raise InvalidInput and LimitReached."""
    _validate_fields(fields, _account_fields(provider_type, services=services))
    caps.require_capacity(session, "telephony_accounts", select(TelephonyAccount.id))
    row = TelephonyAccount(id=uuid4(), provider_type=provider_type, label=label)
    row.tenant_id = session.info[SESSION_TENANT].id
    _store_credentials(row, credentials.new_credentials(fields, now=now), services=services)
    session.add(row)
    session.flush()
    return row


def get(
    session: Session, *, telephony_account_id: UUID, for_update: bool = False
) -> TelephonyAccount:
    """Return the account. Raise NotFound."""
    lock = for_update or None
    row = session.get(TelephonyAccount, telephony_account_id, with_for_update=lock)
    if row is None:
        raise NotFound
    return row


def list_page(session: Session, *, services: Services, page: PageRequest, now: datetime) -> Page:
    """Return a page of the tenant's accounts as the API shows them, oldest first."""
    row_page = _LISTING.page(session, page)
    return replace(
        row_page, items=[account_to_dict(row, now=now, services=services) for row in row_page.items]
    )


def change(
    session: Session,
    *,
    services: Services,
    telephony_account_id: UUID,
    now: datetime,
    fields: Mapping[str, str] | None = None,
    **changes: Any,
) -> TelephonyAccount:
    """Update the given fields; after a change of a secret the previous ones are accepted for a day.

    If none of our keys can decrypt the stored fields, all fields must be given. Raise NotFound and
    InvalidInput.
    """
    row = get(session, telephony_account_id=telephony_account_id, for_update=True)
    for name, value in changes.items():
        setattr(row, name, value)
    if fields:
        stored, account_fields = (
            _load_credentials(row, services=services),
            _account_fields(row.provider_type, services=services),
        )
        _validate_fields({**stored.fields, **fields}, account_fields)
        secrets = (
            [account_field.name for account_field in account_fields if account_field.secret]
            if stored.fields
            else []
        )
        _store_credentials(
            row, stored.with_changes(fields, secrets=secrets, now=now), services=services
        )
    row.updated_at = now
    session.flush()
    return row


def remove(session: Session, *, services: Services, telephony_account_id: UUID) -> None:
    """Delete an account. Raise NotFound, and AccountInUse with what uses it."""
    row = get(session, telephony_account_id=telephony_account_id, for_update=True)
    use_reason = services.callbacks.find_account_use(session, telephony_account_id)
    if use_reason is not None:
        raise AccountInUse(use_reason)
    session.delete(row)
    try:
        session.flush()
    except IntegrityError as error:
        if db.constraint_name(error) == "phone_numbers_telephony_account_id_fkey":
            raise AccountInUse("a phone number uses it") from None
        raise


def account_to_dict(row: Any, *, services: Services, now: datetime) -> dict[str, Any]:
    """Return an account as the API shows it, without the values of its secrets.

    `row` is a model or a row of a query.
    """
    stored, adapter_class = (
        _load_credentials(row, services=services),
        services.carriers.adapter_class(row.provider_type),
    )
    public_names = {
        entry.name
        for entry in (adapter_class.account_fields if adapter_class else ())
        if not entry.secret
    }
    secrets = [
        {"name": secret_name, "changed_at": changed_at}
        for secret_name, changed_at in stored.changed.items()
    ]
    names = ("id", "tenant_id", "provider_type", "label", "created_at", "updated_at")
    return {
        **{name: getattr(row, name) for name in names},
        "fields": {name: value for name, value in stored.fields.items() if name in public_names},
        "secrets": [entry for entry in secrets if entry["name"] not in public_names],
        "previous_accepted_until": stored.accepted_until(now),
    }


def _account_fields(provider_type: str, *, services: Services) -> tuple[AccountField, ...]:
    """Return the fields of the carrier's accounts. Raise InvalidInput if it has none."""
    adapter_class = services.carriers.adapter_class(provider_type)
    if adapter_class is None or not adapter_class.account_fields:
        detail = "There is no such carrier, or it does not support accounts of tenants."
        raise InvalidInput.field("provider_type", detail)
    return adapter_class.account_fields


def _validate_fields(fields: Mapping[str, str], account_fields: tuple[AccountField, ...]) -> None:
    if not credentials.are_valid(fields, account_fields):
        raise InvalidInput(
            "The request is not valid.", errors=list(_field_errors(fields, account_fields))
        )


def _field_errors(
    fields: Mapping[str, str], account_fields: tuple[AccountField, ...]
) -> Iterator[FieldError]:
    fields_by_name = {account_field.name: account_field for account_field in account_fields}
    for name in fields.keys() - fields_by_name.keys():
        yield FieldError(f"/fields/{escape_pointer_step(name)}", "Unknown field.")
    for name, account_field in fields_by_name.items():
        if name not in fields:
            if account_field.required:
                yield FieldError(
                    f"/fields/{name}", f"This field is required. {account_field.description}"
                )
        elif not account_field.pattern.fullmatch(fields[name]):
            yield FieldError(f"/fields/{name}", f"Invalid value. {account_field.description}")


def _store_credentials(row: TelephonyAccount, value: Credentials, *, services: Services) -> None:
    row.sealed = credentials.encrypt_credentials(
        value, tenant_id=row.tenant_id, account_id=row.id, services=services
    )


def _load_credentials(row: Any, *, services: Services) -> Credentials:
    """Return the stored credentials, or empty ones if none of our keys can decrypt them."""
    try:
        return credentials.decrypt_credentials(
            row.sealed, tenant_id=row.tenant_id, account_id=row.id, services=services
        )
    except DecryptionError:
        return _NO_CREDENTIALS
