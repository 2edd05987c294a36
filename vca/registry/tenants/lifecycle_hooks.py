"""What the registry must ask the rooms above it when a tenant is brought in, examined or purged.

Nothing in the registry looks inside a tenant's schema; who owns its tables says these here.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy.orm import Session

from vca.tenancy.schema import TenantRef


@dataclass(frozen=True)
class OrphanedNumber:
    """A number that the registry has claimed for a phone number which its tenant does not have."""

    tenant_id: UUID
    did_number: str


@dataclass(frozen=True)
class TenantLifecycleHooks:
    """The questions. Sessions are the owner's, in no tenant.

    `disown` deactivates the tenant's phone numbers that the registry does not give it; how many.
    `adrift` compares the registry with the phone numbers of many tenants. `discard` deletes what a
    tenant keeps outside the database, of which there may be some left after a StorageError; how
    many files. `reseal` binds the encrypted columns of an import to their tenant, given the id that
    they were exported under, and names those that our keys do not open. `hush` has nothing told to
    the receivers of a tenant that is a copy beside the original; how many webhooks. `recount`
    writes what it has used of each month, as its schema says, and has what it holds counted on.
    """

    deactivate_unowned_numbers: Callable[[Session, TenantRef], int]
    find_orphaned_numbers: Callable[[Session, Sequence[TenantRef]], list[OrphanedNumber]]
    delete_files: Callable[[TenantRef], int]
    re_encrypt: Callable[[Session, TenantRef, UUID], list[str]]
    mute_webhooks: Callable[[Session, TenantRef], int]
    rebuild_usage: Callable[[Session, TenantRef, datetime], None]


_current: TenantLifecycleHooks | None = None


def set_current_hooks(hooks: TenantLifecycleHooks) -> None:
    """Let `product` answer in this process."""
    global _current
    _current = hooks


def current_hooks() -> TenantLifecycleHooks:
    """Who answers; raises RuntimeError before `use`."""
    if _current is None:
        raise RuntimeError("nobody has said what a tenant's schema holds")
    return _current
