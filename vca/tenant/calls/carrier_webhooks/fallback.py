"""What callers hear if the tenant's schema is too old for this code, or VCA is unreachable."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from sqlalchemy import Row, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from vca.conversation import localised_phrases
from vca.kit import db
from vca.kit.phone import mask
from vca.observability import log
from vca.registry.number_registry import claimed_numbers
from vca.registry.number_registry import service as number_registry
from vca.registry.number_registry.claimed_numbers import ClaimedNumber
from vca.registry.number_registry.service import Owner
from vca.services import Services
from vca.telephony.dial_permit import DialPermit
from vca.telephony.types import Action, CallReply, Forward, HangUp, Reject, Say
from vca.tenancy.session import public_session, tenant_session
from vca.tenant.calls.carrier_webhooks import authentication
from vca.tenant.calls.core import outbound_legs
from vca.tenant.settings.dialling import DiallingRefused
from vca.tenant.settings.phrases import OwnTexts

RENDER_FALLBACKS_JOB = "calls.render_fallbacks"
# Uses columns that exist since the first revision, and no ORM model, which needs the latest one.
# Settings without the column `phrases` give null.
_SELECT_FALLBACK_CONFIG = text(
    "SELECT s.sentences, coalesce(to_jsonb(s) -> 'phrases', '{}') AS phrases, p.fallback_number,"
    " a.language, a.voice, to_jsonb(s) AS settings"
    " FROM settings s LEFT JOIN phone_numbers p ON p.id = :phone_number_id"
    " LEFT JOIN ai_profiles a"
    " ON a.id = p.ai_profile_id OR (p.ai_profile_id IS NULL AND a.is_default)"
)
# File suffix per content type of the carrier's reply.
_SUFFIXES = {"application/json": ".json", "application/xml": ".xml", "text/xml": ".xml"}
_DOCUMENT_NAME = re.compile(r"[0-9]+\.(json|xml|txt)", re.ASCII)


@dataclass(frozen=True)
class _DiallingSettings:
    """The tenant's dial policy, read without an ORM model."""

    home_country: str | None
    dial_policy: Mapping[str, Any]
    limits: Mapping[str, Any]


def apology_actions(language: str | None) -> tuple[Action, ...]:
    """Return an apology without any text of the tenant's. No language means English."""
    return Say(localised_phrases.phrase("fallback", language or "en"), language), HangUp()


def fallback_actions(
    owner: Owner, called_number: str, *, services: Services, records_leg: bool
) -> tuple[Action, ...]:
    """Return a forward to the fallback number, or the tenant's sentence, or the default sentence.

    The forward needs the permission to dial. `records_leg`: a call arrives now, so the leg is
    recorded. Raises DatabaseFailure.
    """
    if owner.rests_until is not None:
        return (Reject(),)
    try:
        with tenant_session(owner.tenant, database=services.database) as session:
            config = session.execute(
                _SELECT_FALLBACK_CONFIG, {"phone_number_id": owner.phone_number_id}
            ).one()
            permit = _permit_fallback(
                session, config, called_number, records_leg=records_leg, services=services
            )
    except DBAPIError as error:
        log.get_logger().warning("call.fallback_not_read", sqlstate=db.sqlstate(error))
        return apology_actions(None)
    if owner.tenant_status == "suspended":
        return _say_sentence(config, "suspended"), HangUp()
    if permit is not None:
        return (Forward(permit),)
    return _say_sentence(config, "fallback"), HangUp()


def _permit_fallback(
    session: Session, config: Row[Any], called_number: str, *, services: Services, records_leg: bool
) -> DialPermit | None:
    """Return the permission to dial the fallback number, or None without one."""
    if config.fallback_number is None:
        return None
    stored = config.settings
    try:
        return outbound_legs.permit_fallback(
            session,
            config.fallback_number,
            from_number=called_number,
            tenant_settings=_DiallingSettings(
                stored.get("home_country"),
                stored.get("dial_policy") or {},
                stored.get("limits") or {},
            ),
            is_frozen=stored.get("dialling_frozen_at") is not None,
            records_leg=records_leg,
            services=services,
        )
    except DiallingRefused as refusal:
        log.get_logger().warning("call.fallback_not_permitted", code=refusal.reason)
        return None


def reject_unrouted(number: str, *, services: Services) -> tuple[Action, ...]:
    """Reject, log and count a call to a number that nobody owns."""
    log.get_logger().warning("call.missed_number", called=mask(number))
    with public_session(database=services.database) as session:
        number_registry.record_unrouted_call(session, number=number)
    return (Reject(),)


def actions_during_upgrade(
    owner: Owner, number: str, *, services: Services, unanswered: bool
) -> tuple[Action, ...]:
    """Return the configured fallback, because the tenant's schema is too old for this code.

    The call is logged and counted, but not recorded. A call that is still `unanswered` is reported
    again, and its leg is recorded then.
    """
    log.get_logger().warning(
        "call.tenant_upgrading", tenant_id=str(owner.tenant.id), called=mask(number)
    )
    with public_session(database=services.database) as session:
        number_registry.record_unrouted_call(session, number=number)
    return fallback_actions(owner, number, records_leg=not unanswered, services=services)


def _say_sentence(config: Row[Any], name: str) -> Say:
    text = OwnTexts(config.sentences, config.phrases).sentence(name, config.language)
    return Say(text, config.language, config.voice)


def update_fallback_documents(tenant_id: UUID | None = None, *, services: Services) -> int | None:
    """Write the documents of all numbers, or a tenant's, to the configured folder.

    Return how many were written, or None without a folder.
    """
    folder = services.settings.carrier_fallback_folder
    return (
        write_fallback_documents(Path(folder), tenant_id=tenant_id, services=services)
        if folder
        else None
    )


def write_fallback_documents(
    folder: Path, *, services: Services, tenant_id: UUID | None = None
) -> int:
    """Write one document per number of a configured carrier; return how many.

    Without a tenant, delete the documents of all other numbers: one that nobody owns any more, or
    whose carrier is no longer configured, must not be forwarded. Each file appears under its name
    only when it is complete.
    """
    with public_session(database=services.database) as session:
        numbers = claimed_numbers.list_claimed(session, tenant_id=tenant_id)
    paths = {
        path
        for number in numbers
        if (path := _write_document(number, folder, services=services)) is not None
    }
    if tenant_id is None:
        for path in folder.glob("*/*"):
            if _DOCUMENT_NAME.fullmatch(path.name) and path not in paths:
                path.unlink(missing_ok=True)
    return len(paths)


def _write_document(number: ClaimedNumber, folder: Path, *, services: Services) -> Path | None:
    name = services.carriers.carrier_name(number.provider_type)
    parser = services.carriers.parser_for(name) if name is not None else None
    owner = authentication.find_number_owner(number.did_number, services=services)
    if parser is None or owner is None:
        return None
    actions = fallback_actions(owner, number.did_number, records_leg=False, services=services)
    response = parser.render(CallReply(actions), callback_url="")
    suffix = _SUFFIXES.get(response.content_type.partition(";")[0].strip(), ".txt")
    path = folder / parser.name / f"{number.did_number.lstrip('+')}{suffix}"
    path.parent.mkdir(parents=True, exist_ok=True)
    partial_path = path.with_name(f".{path.name}.part")
    partial_path.write_bytes(response.body)
    partial_path.replace(path)
    return path
