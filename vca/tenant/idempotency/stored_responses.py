"""Remove personal data from the responses that are stored under Idempotency-Keys.

The keys stay, so that a repeated request does not dial again.
"""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from vca.kit import json
from vca.tenant.idempotency.models import IdempotencyKey


def replace_fields(session: Session, call_ids: Sequence[UUID], values: Mapping[str, Any]) -> int:
    """Replace these fields in the responses about these calls; return the number of responses."""
    call_id_texts = {str(value) for value in call_ids}
    query = select(IdempotencyKey).where(IdempotencyKey.answer.is_not(None)).with_for_update()
    changed_count = 0
    for row in session.scalars(query):
        document = _parse_document(row.answer or "")
        if document.get("id") in call_id_texts or document.get("call_id") in call_id_texts:
            replacements = {name: value for name, value in values.items() if name in document}
            row.answer = json.dumps({**document, **replacements}).decode()
            changed_count += 1
    session.flush()
    return changed_count


def _parse_document(answer: str) -> dict[str, Any]:
    try:
        document = json.loads(answer)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}
