"""The carrier of a call or a number, with the account that it is held by.

Whoever asks a carrier gets it here, in the transaction that says whose it is, and asks it once that
is over. The deployment's own accounts cost no statement.
"""

from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from vca.kit import clock, log
from vca.kit.at_rest import CannotOpen
from vca.telephony import providers
from vca.telephony.adapter import TelephonyAdapter
from vca.telephony.types import CarrierRef
from vca.tenant.telephony_accounts import credentials
from vca.tenant.telephony_accounts.models import TelephonyAccount


def of_call(session: Session, ref: CarrierRef) -> TelephonyAdapter | None:
    """The carrier that holds a call, the simulator included; None: not configured any more."""
    if ref.account_id is None:
        return providers.current().of_call(ref.provider_type)
    return _of_account(session, ref.provider_type, ref.account_id)


def of_number(session: Session, ref: CarrierRef) -> TelephonyAdapter | None:
    """The carrier of a number; None: not configured, or the account is not there or another's."""
    if ref.account_id is None:
        return providers.current().for_number(ref.provider_type)
    return _of_account(session, ref.provider_type, ref.account_id)


def _of_account(session: Session, provider_type: str, account_id: UUID) -> TelephonyAdapter | None:
    """Nothing is believed of a row that was imported: it may be of another form."""
    asked = select(TelephonyAccount).where(TelephonyAccount.id == account_id)
    row = session.scalars(asked.where(TelephonyAccount.provider_type == provider_type)).first()
    kind = providers.current().kind(provider_type)
    if row is None or kind is None:
        return None
    try:
        kept = credentials.opened(row.sealed, tenant_id=row.tenant_id, account_id=row.id)
    except CannotOpen:
        log.get().warning("telephony_account.unreadable", telephony_account_id=str(account_id))
        return None
    if not credentials.fit(kept.fields, kind.account_fields):
        return None
    return providers.current().of_account(provider_type, kept.account(clock.now()))
