"""What the features of a tenant contribute to the life of a tenant, and of a person's data.

The registry never looks inside a tenant's schema, and privacy requests never look into another
feature's tables. Each package of `vca.tenant` that owns tables has a `lifecycle.py` with its
`TenantLifecycleHooks`, and a line in `vca.app.FEATURES`. No field has a default: a feature that has
nothing to do for a hook says so with None.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, cast
from uuid import UUID

from sqlalchemy import ColumnElement, LargeBinary, Table
from sqlalchemy.orm import DeclarativeBase, Session

from vca.tenancy.schema import TenantRef

if TYPE_CHECKING:
    from vca.services import Services

# Replaces a person's number in a column that cannot be null.
ERASED = "erased"

Counts: TypeAlias = Mapping[str, int]


class PurgeFilesHook(Protocol):
    """Deletes the feature's files of a tenant."""

    def __call__(self, tenant: TenantRef, *, services: "Services") -> int:
        """Return the number of deleted files; raise StorageError, when some may be left."""


class EraseFilesHook(Protocol):
    """Deletes the files of a person."""

    def __call__(
        self, tenant: TenantRef, records: "SubjectRecords", *, services: "Services"
    ) -> Counts:
        """Return the counts of deleted files; raise StorageError, when some may be left."""


class ExpiryHook(Protocol):
    """Deletes what has expired in the feature's tables of a tenant."""

    def __call__(self, tenant: TenantRef, now: datetime, *, services: "Services") -> None:
        """Delete what has expired at `now`."""


class LifecycleError(Exception):
    """A feature's hooks are incomplete, or contradict its tables."""


@dataclass(frozen=True, kw_only=True)
class TenantTable:
    """A table of a feature.

    `encrypted` names its encrypted columns. They are bound to the tenant and the row's `id`, so
    they are encrypted again after an import under another tenant id and by a key rotation.

    `configuration` says which rows belong to the tenant's present configuration: all (True), none
    (False), or those that match the condition. Calls depend on them, so an erasure only reports
    where they contain the person's number. It removes the number from all other rows.

    `call_id` names the column with the id of the row's call, in tables that have such a column.
    """

    model: type[DeclarativeBase]
    encrypted: tuple[str, ...]
    configuration: bool | ColumnElement[bool]
    call_id: str = "call_id"

    def __post_init__(self) -> None:
        """Raise LifecycleError if `encrypted` does not name exactly the columns of bytes."""
        columns = self.table.columns
        byte_columns = {column.name for column in columns if isinstance(column.type, LargeBinary)}
        for name in sorted(byte_columns.symmetric_difference(self.encrypted)):
            problem = "is not declared as encrypted" if name in byte_columns else "has no bytes"
            raise LifecycleError(f"{self.name}.{name} {problem}")
        if self.encrypted and self.table.primary_key.columns.keys() != ["id"]:
            raise LifecycleError(f"{self.name} has encrypted columns, but its key is not `id`")

    @property
    def table(self) -> Table:
        """The table of the model."""
        return cast(Table, self.model.__table__)

    @property
    def name(self) -> str:
        """The name of the table."""
        return self.table.name


@dataclass(frozen=True)
class Inconsistency:
    """A problem that was found; `subject` is a tenant's id, a schema or a number."""

    kind: str
    subject: str
    detail: str


@dataclass(frozen=True)
class ImportedTenant:
    """A tenant that is being imported; `is_copy` means that the exported tenant exists too."""

    ref: TenantRef
    archived_id: UUID
    is_copy: bool
    now: datetime


@dataclass(frozen=True)
class StatusChange:
    """A tenant's status has changed; `event_type` is the event that reports it to webhooks."""

    tenant_id: UUID
    before: str
    event_type: str
    event_id: UUID
    changed_at: datetime


@dataclass(frozen=True)
class NumberChange:
    """The registry has claimed or released a number for a phone number of a tenant.

    The change happens outside the tenant, for example with a change of its status.
    """

    tenant_id: UUID
    phone_number_id: UUID
    did_number: str
    provider_type: str
    telephony_account_id: UUID | None
    is_claimed: bool


@dataclass(frozen=True)
class SettingsChange:
    """A tenant's settings have changed: their names, and the kinds of data in `retention_days`."""

    names: Collection[str]
    retention_kinds: Collection[str]


@dataclass(frozen=True)
class SubjectRecords:
    """Calls and messages that belong to the person of a privacy request."""

    call_ids: Sequence[UUID] = ()
    message_ids: Sequence[UUID] = ()


@dataclass(frozen=True)
class SubjectFile:
    """A stored file of a person: its kind, its name in an export, and its storage key."""

    kind: str
    name: str
    key: str


@dataclass(frozen=True)
class SubjectData:
    """A feature's data of a person.

    `of_calls` has the feature's fields in the document of each call, `rows` the rows that do not
    belong to the document of a call, by kind.
    """

    of_calls: Mapping[UUID, Mapping[str, Any]] = field(default_factory=dict)
    rows: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    files: Sequence[SubjectFile] = ()


@dataclass(frozen=True, kw_only=True)
class TenantLifecycleHooks:
    """One feature's part of what happens to a tenant; None where it has none.

    The sessions of `import_tenant` and `examine` have the owner's login and are in no tenant; all
    others but `number_changed` and `status_changed`, which serve both, are in the tenant.

    - `tables` are all tables of the feature. Their declarations say what is re-encrypted, and what
      exports and erasures do with numbers in texts.
    - `import_tenant` adapts the feature's imported rows and enqueues their jobs, which archives do
      not contain. It returns the counts that the result of the import shows.
    - `examine` returns the inconsistencies between the registry and these tenants.
    - `purge_files` deletes the feature's files of a tenant, and returns their count. The schema is
      dropped as a whole. It raises StorageError; some files may then be left.
    - `export_subject` returns the feature's data of a person.
    - `erase_files` deletes the files of a person, without an open transaction, and raises
      StorageError. A repeated call continues where this one stopped.
    - `erase_rows` erases the rows of a person, in one transaction for all features.
    - `status_changed`, `number_changed` and `settings_changed` react in the transaction of the
      change, for example by enqueueing a job.
    - `purge_expired` has what the feature does when a retention job of the registry runs for a
      tenant, by the name of the job.
    """

    feature: str
    tables: tuple[TenantTable, ...]
    import_tenant: Callable[[Session, ImportedTenant], Counts] | None
    examine: Callable[[Session, Sequence[TenantRef]], Iterable[Inconsistency]] | None
    purge_files: PurgeFilesHook | None
    export_subject: Callable[[Session, SubjectRecords], SubjectData] | None
    erase_files: EraseFilesHook | None
    erase_rows: Callable[[Session, SubjectRecords], Counts] | None
    status_changed: Callable[[Session, StatusChange], None] | None
    number_changed: Callable[[Session, NumberChange], None] | None
    settings_changed: Callable[[Session, SettingsChange], None] | None
    purge_expired: Mapping[str, ExpiryHook] | None


class FeatureHooks:
    """The hooks of all features, in the order of `vca.app.FEATURES`.

    A feature comes after those whose rows it refers to by a call's id. Erasures use the reverse
    order, so that the numbers that link calls to a person are erased last.
    """

    def __init__(
        self, features: Sequence[TenantLifecycleHooks], *, table_names: Collection[str]
    ) -> None:
        """Take the hooks; `table_names` are all tables of a tenant's schema.

        Raise LifecycleError unless each table belongs to exactly one feature.
        """
        self.features = tuple(features)
        self.tables = {table.name: table for hooks in features for table in hooks.tables}
        owners = {
            name: [
                hooks.feature for hooks in features for table in hooks.tables if table.name == name
            ]
            for name in {*table_names, *self.tables}
        }
        for name in sorted(owners):
            if len(owners[name]) != 1 or name not in table_names:
                raise LifecycleError(
                    f"the table {name} of a tenant's schema must belong to one feature's hooks;"
                    f" it belongs to {', '.join(owners[name]) or 'none'}"
                )

    @property
    def encrypted_columns(self) -> tuple[tuple[str, str], ...]:
        """The encrypted columns of a tenant's schema, as (table, column)."""
        return tuple(
            (table.name, column) for table in self.tables.values() for column in table.encrypted
        )

    def import_tenant(self, session: Session, imported: ImportedTenant) -> dict[str, int]:
        """Let every feature adapt its imported rows; return the counts for the result."""
        counts: dict[str, int] = {}
        for hooks in self.features:
            if hooks.import_tenant is not None:
                counts |= hooks.import_tenant(session, imported)
        return counts

    def examine(self, session: Session, tenants: Sequence[TenantRef]) -> Iterator[Inconsistency]:
        """Yield the inconsistencies that any feature finds."""
        for hooks in self.features:
            if hooks.examine is not None:
                yield from hooks.examine(session, tenants)

    def purge_files(self, tenant: TenantRef, *, services: "Services") -> int:
        """Delete all files of a tenant; return their count. Raise StorageError."""
        return sum(
            hooks.purge_files(tenant, services=services)
            for hooks in self.features
            if hooks.purge_files
        )

    def export_subject(self, session: Session, records: SubjectRecords) -> Iterator[SubjectData]:
        """Yield each feature's data of a person."""
        for hooks in self.features:
            if hooks.export_subject is not None:
                yield hooks.export_subject(session, records)

    def erase_files(
        self, tenant: TenantRef, records: SubjectRecords, *, services: "Services"
    ) -> dict[str, int]:
        """Delete the files of a person; return the counts. Raise StorageError."""
        counts = Counter[str]()
        for hooks in reversed(self.features):
            if hooks.erase_files is not None:
                counts.update(hooks.erase_files(tenant, records, services=services))
        return dict(counts)

    def erase_rows(self, session: Session, records: SubjectRecords) -> dict[str, int]:
        """Erase the rows of a person; return the counts."""
        counts = Counter[str]()
        for hooks in reversed(self.features):
            if hooks.erase_rows is not None:
                counts.update(hooks.erase_rows(session, records))
        return dict(counts)

    def status_changed(self, session: Session, change: StatusChange) -> None:
        """Notify every feature that a tenant's status has changed."""
        for hooks in self.features:
            if hooks.status_changed is not None:
                hooks.status_changed(session, change)

    def number_changed(self, session: Session, change: NumberChange) -> None:
        """Notify every feature that a number was claimed or released outside the tenant."""
        for hooks in self.features:
            if hooks.number_changed is not None:
                hooks.number_changed(session, change)

    def settings_changed(self, session: Session, change: SettingsChange) -> None:
        """Notify every feature that the tenant's settings have changed."""
        for hooks in self.features:
            if hooks.settings_changed is not None:
                hooks.settings_changed(session, change)

    def purge_expired(
        self, job: str, tenant: TenantRef, *, now: datetime, services: "Services"
    ) -> None:
        """Delete what has expired in the tables of the features with this retention job."""
        for hooks in self.features:
            if hooks.purge_expired is not None and job in hooks.purge_expired:
                hooks.purge_expired[job](tenant, now, services=services)
