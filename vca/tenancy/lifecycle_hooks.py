"""Hooks that packages above the registry register for imports, checks and purges of tenants.

The registry never looks inside a tenant's schema. The packages that own its tables implement these
hooks.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy.orm import Session

from vca.tenancy.schema import TenantRef


@dataclass(frozen=True)
class OrphanedNumber:
    """A number claimed in the registry for a phone number that its tenant does not have."""

    tenant_id: UUID
    did_number: str


@dataclass(frozen=True)
class TenantLifecycleHooks:
    """The hooks. Their sessions have the owner's login and are in no tenant.

    - `deactivate_unowned_numbers` deactivates phone numbers that the registry does not give the
      tenant, and returns their count.
    - `find_orphaned_numbers` compares the registry with the phone numbers of many tenants.
    - `delete_files` deletes the tenant's files outside the database, and returns their count. After
      a StorageError some files may be left.
    - `re_encrypt` encrypts the columns of an import for its tenant, given the id that it was
      exported with. It returns the columns that the current keys cannot decrypt.
    - `mute_webhooks` deactivates the webhooks of a tenant that is a copy beside its original, and
      returns their count.
    - `remove_unusable_schemas` removes JSON Schemas that could not be saved today from an import,
      and returns their count.
    - `resume_mail` schedules the mails that were pending when the tenant was exported, or gives
      them up in a copy beside its original.
    - `rebuild_usage` recalculates the usage of each month from the tenant's ledger, and schedules
      the metering of its numbers and recordings.
    - `resume_analyses` enqueues the analyses of calls that were pending when the tenant was
      exported.
    """

    deactivate_unowned_numbers: Callable[[Session, TenantRef], int]
    find_orphaned_numbers: Callable[[Session, Sequence[TenantRef]], list[OrphanedNumber]]
    delete_files: Callable[..., int]
    re_encrypt: Callable[..., list[str]]
    mute_webhooks: Callable[[Session, TenantRef], int]
    remove_unusable_schemas: Callable[[Session, TenantRef], int]
    resume_mail: Callable[[Session, TenantRef, bool], None]
    rebuild_usage: Callable[[Session, TenantRef, datetime], None]
    resume_analyses: Callable[[Session, TenantRef], None]
