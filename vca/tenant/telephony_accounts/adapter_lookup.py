"""Look up the carrier adapter of a call or a number, with the right carrier account.

Get the adapter within the transaction that identifies the account, and call the carrier after it
has ended. The deployment's own accounts need no database query.
"""

from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from vca.kit import clock
from vca.kit.encryption import DecryptionError
from vca.observability import log
from vca.services import Services
from vca.telephony.adapter import TelephonyAdapter
from vca.telephony.types import ProviderAccountRef
from vca.tenant.telephony_accounts import credentials
from vca.tenant.telephony_accounts.models import TelephonyAccount


def adapter_for_call(
    session: Session, ref: ProviderAccountRef, *, services: Services
) -> TelephonyAdapter | None:
    """Return the adapter of a call's carrier, also for simulated calls; None if not configured."""
    if ref.account_id is None:
        return services.carriers.for_call(ref.provider_type)
    return _adapter_for_account(session, ref.provider_type, ref.account_id, services=services)


def adapter_for_number(
    session: Session, ref: ProviderAccountRef, *, services: Services
) -> TelephonyAdapter | None:
    """Return the adapter of a number's carrier.

    None means that the carrier is not configured, or that the account is missing or belongs to
    another carrier.
    """
    if ref.account_id is None:
        return services.carriers.for_number(ref.provider_type)
    return _adapter_for_account(session, ref.provider_type, ref.account_id, services=services)


def _adapter_for_account(
    session: Session, provider_type: str, account_id: UUID, *, services: Services
) -> TelephonyAdapter | None:
    """Return the account's adapter, or None for a row that is missing or invalid.

    An imported row may be invalid in any way.
    """
    query = select(TelephonyAccount).where(TelephonyAccount.id == account_id)
    row = session.scalars(query.where(TelephonyAccount.provider_type == provider_type)).first()
    adapter_class = services.carriers.adapter_class(provider_type)
    if row is None or adapter_class is None:
        return None
    try:
        account_credentials = credentials.decrypt_credentials(
            row.sealed, tenant_id=row.tenant_id, account_id=row.id, services=services
        )
    except DecryptionError:
        log.get_logger().warning(
            "telephony_account.unreadable", telephony_account_id=str(account_id)
        )
        return None
    if not credentials.are_valid(account_credentials.fields, adapter_class.account_fields):
        return None
    return services.carriers.for_account(provider_type, account_credentials.account(clock.now()))
