"""Find and erase a number in all text and JSON columns of a tenant's tables.

Postgres selects the rows that may have a number in digits or words, and Python reads them.

The tenant's own configuration is searched and never changed, because calls depend on it. The result
of an erasure lists the places in the configuration that contain the number.
"""

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Row, delete, func, select, update
from sqlalchemy.orm import Session

from vca.kit import json, language_tags
from vca.kit.language_tags import LanguageTag
from vca.kit.spoken_digits import LANGUAGE_CODES, preselection_pattern
from vca.services import Services
from vca.services.lifecycle_hooks import ERASED
from vca.tenancy.schema import TenantRef
from vca.tenancy.session import tenant_session
from vca.tenant.ai_profiles import profile_languages
from vca.tenant.privacy import table_scan
from vca.tenant.privacy.data_subject import DataSubject
from vca.tenant.privacy.table_scan import SearchableTable

_E164 = r"\+[1-9][0-9]{6,14}(?![0-9])"
_READ_LANGUAGES = tuple(map(LanguageTag, sorted(LANGUAGE_CODES)))


@dataclass(frozen=True)
class Mention:
    """A row that contains the number, and in which columns; `call_id` is the row's call, if any."""

    table: str
    key: tuple[Any, ...]
    columns: tuple[str, ...]
    call_id: UUID | None


def find_in_configuration(
    session: Session, subject: DataSubject, *, services: Services
) -> list[str]:
    """Return the configuration fields that contain the number, as `phone_numbers.forward_to`."""
    field_names = set()
    for searchable in table_scan.searchable_tables(configuration=True, services=services):
        query = select(*searchable.text_columns).where(searchable.matches(preselection_pattern()))
        for row in session.execute(query):
            field_names |= {
                f"{searchable.table.name}.{name}" for name in _scrubbed_columns(subject, row)
            }
    return sorted(field_names)


def find_unread_languages(session: Session) -> list[str]:
    """Return the languages of the tenant's profiles, past versions included, without number words.

    Numbers that are said in words of these languages are not found.
    """
    languages = map(_parse_language, profile_languages.list_language_tags(session))
    return sorted(
        {
            tag.language
            for tag in languages
            if language_tags.nearest_tag(tag, _READ_LANGUAGES) is None
        }
    )


def _parse_language(tag: str) -> LanguageTag:
    """Return the parsed tag. Profiles of earlier releases may have a tag that cannot be parsed."""
    return language_tags.parse_tag(tag) or LanguageTag(tag.lower().partition("-")[0])


def list_numbers(tenant: TenantRef, *, services: Services) -> set[str]:
    """Return every E.164 number in any table except the configuration."""
    e164_pattern = re.compile(_E164)
    numbers: set[str] = set()
    for searchable in table_scan.searchable_tables(services=services):
        for _, rows in table_scan.scan_windows(tenant, searchable, _E164, services=services):
            for row in rows:
                texts = (
                    value if isinstance(value, str) else json.dumps(value).decode() for value in row
                )
                numbers.update(*(e164_pattern.findall(text) for text in texts))
    return numbers


def find_mentions(
    tenant: TenantRef, subject: DataSubject, *, services: Services, until: datetime
) -> Iterator[Mention]:
    """Yield every row outside the configuration that contains the number."""
    for searchable in table_scan.searchable_tables(services=services):
        for _, rows in table_scan.scan_windows(
            tenant, searchable, preselection_pattern(), until=until, services=services
        ):
            for row in rows:
                columns = tuple(_scrubbed_columns(subject, row))
                if columns:
                    yield _to_mention(searchable, row, columns)


def erase_mentions(
    tenant: TenantRef,
    subject: DataSubject,
    *,
    services: Services,
    until: datetime,
    live: Collection[UUID],
) -> tuple[int, bool]:
    """Erase the number in all rows that `find_mentions` finds; return (row count, complete).

    Rows of live calls are skipped; `complete` is then false. A row that the tenant's role may not
    update is deleted, and a row that it may not delete either is left unchanged.
    """
    row_count, complete = 0, True
    with tenant_session(tenant, database=services.database) as session:
        privileges_by_table = _table_privileges(session, services=services)
    for searchable in table_scan.searchable_tables(services=services):
        privileges = privileges_by_table[searchable.table.name]
        windows = table_scan.scan_windows(
            tenant, searchable, preselection_pattern(), until=until, services=services
        )
        for session, rows in windows:
            naming = [row for row in rows if _scrubbed_columns(subject, row)]
            ended = [row for row in naming if _row_call_id(searchable, row) not in live]
            complete = complete and len(ended) == len(naming)
            if "UPDATE" in privileges:
                ended = table_scan.lock_rows(session, searchable, ended)
            row_count += sum(
                _scrub_row(session, searchable, subject, row, privileges) for row in ended
            )
    return row_count, complete


def _to_mention(searchable: SearchableTable, row: Row[Any], columns: tuple[str, ...]) -> Mention:
    key = tuple(row._mapping[column] for column in searchable.key_columns)
    return Mention(searchable.table.name, key, columns, _row_call_id(searchable, row))


def _row_call_id(searchable: SearchableTable, row: Row[Any]) -> UUID | None:
    column = searchable.call_id_column
    call_id: UUID | None = row._mapping[column] if column is not None else None
    return call_id


def _scrubbed_columns(subject: DataSubject, row: Row[Any]) -> dict[str, Any]:
    """Return the new values of the columns that contain the number."""
    values = {name: (value, subject.scrub(value)) for name, value in row._asdict().items()}
    return {name: new for name, (old, new) in values.items() if new != old}


def _scrub_row(
    session: Session,
    searchable: SearchableTable,
    subject: DataSubject,
    row: Row[Any],
    privileges: Collection[str],
) -> bool:
    """Erase the number in the row; return whether that was permitted."""
    table, row_key = searchable.table, [key == row._mapping[key] for key in searchable.key_columns]
    changes = {
        name: _replacement_value(searchable, subject, name, row._mapping[table.c[name]], new)
        for name, new in _scrubbed_columns(subject, row).items()
    }
    if not changes:  # another transaction has removed the number
        return False
    if "UPDATE" in privileges:
        session.execute(update(table).where(*row_key).values(changes))
    elif "DELETE" in privileges:
        session.execute(delete(table).where(*row_key))
    return bool(privileges)


def _replacement_value(
    searchable: SearchableTable, subject: DataSubject, name: str, old: Any, new: Any
) -> Any:
    """Return the column's new value; the number alone becomes null, or `erased` if not nullable."""
    column = searchable.table.c[name]
    if name in searchable.unique_columns:
        return f"{ERASED}-{uuid4().hex}"
    if isinstance(old, str) and subject.equals_number(old):
        return None if column.nullable else ERASED
    return new


def _table_privileges(session: Session, *, services: Services) -> dict[str, set[str]]:
    """Return the tenant role's privileges on each table; some tables are append-only."""
    names = [
        searchable.table.name for searchable in table_scan.searchable_tables(services=services)
    ]
    pairs = [(name, privilege) for name in names for privilege in ("UPDATE", "DELETE")]
    granted_flags = session.execute(
        select(*(func.has_table_privilege(*pair) for pair in pairs))
    ).one()
    privileges: dict[str, set[str]] = {name: set() for name in names}
    for (name, privilege), is_granted in zip(pairs, granted_flags, strict=True):
        if is_granted:
            privileges[name].add(privilege)
    return privileges
