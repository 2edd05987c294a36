"""Create, read, update and delete a tenant's AI profiles.

A tenant with profiles has exactly one default, and every change of content creates a version.
"""

from collections.abc import Collection, Iterator, Mapping
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import exists, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from vca.kit import db
from vca.kit.errors import Conflict, FieldError, InvalidInput, NotFound
from vca.kit.json import escape_pointer_step
from vca.kit.paging import Listing, Page, PageRequest, RowReader
from vca.registry import caps
from vca.services import Services
from vca.tenant.ai_profiles import versions
from vca.tenant.ai_profiles.models import VERSIONED_FIELDS, AiProfile, AiProfileVersion
from vca.tenant.settings import service as settings
from vca.tenant.settings.dialling import DialDecision

_LISTING = Listing(AiProfile, (AiProfile.created_at, AiProfile.id))
_VERSIONS = Listing(AiProfileVersion, (AiProfileVersion.version,), newest_first=True)
# The values of a profile that was created with a system prompt only.
DEFAULT_FIELDS: dict[str, Any] = {
    **dict.fromkeys(VERSIONED_FIELDS),
    "role": "custom",
    "end_phrases": [],
    "tools": [],
    "transfer_targets": {},
    "recording": False,
    "redaction": {},
    "turn": {},
}


class DefaultProfileNeeded(Conflict):
    """The change would leave a tenant that has profiles without a default profile."""

    code = "default-profile-needed"


class ProfileInUse(Conflict):
    """A phone number uses this profile."""

    code = "profile-in-use"


def create(
    session: Session, *, services: Services, is_default: bool = False, **content: Any
) -> AiProfile:
    """Create a profile at version 1.

    The tenant's first profile becomes the default even if `is_default` is false. Raise InvalidInput
    for a transfer target that a number which the profile answers could not dial or a transfer tool
    without any target, HomeCountryNeeded, LimitReached, and Conflict if no carrier can do what the
    profile needs.
    """
    _lock_settings(session)
    caps.require_capacity(session, "ai_profiles", select(AiProfile.id), is_locked=True)
    _check_transfer_tool(content)
    is_first = not session.scalar(select(exists().where(AiProfile.id.is_not(None))))
    numbers = _answered_numbers(session, None, is_default=is_first or is_default, services=services)
    _check_transfer_targets(
        session, content.get("transfer_targets", {}), from_numbers=numbers, services=services
    )
    content = {**DEFAULT_FIELDS, **content}
    content["name"] = content["name"] or content["role"]
    profile = AiProfile(id=uuid4(), version=1, is_default=False, **content)
    session.add(profile)
    _store_version(session, profile)
    if is_first or is_default:
        _make_default(session, profile)
    session.flush()
    services.callbacks.check_profile(
        session,
        ai_profile_id=profile.id,
        changed_fields=frozenset({*VERSIONED_FIELDS, "is_default"}),
        services=services,
    )
    return profile


def get(session: Session, *, ai_profile_id: UUID, for_update: bool = False) -> AiProfile:
    """Return the profile. Raise NotFound."""
    profile = session.get(AiProfile, ai_profile_id, with_for_update=for_update or None)
    if profile is None:
        raise NotFound
    return profile


def list_page(source: Session | RowReader, *, page: PageRequest, **filters: Any) -> Page:
    """Return a page of the tenant's profiles, oldest first."""
    return _LISTING.page(source, page, filters)


def change(
    session: Session,
    *,
    services: Services,
    ai_profile_id: UUID,
    is_default: bool | None = None,
    **content: Any,
) -> AiProfile:
    """Update the given fields; a change of content creates a new version.

    Raise NotFound, InvalidInput and HomeCountryNeeded as `create` does, and DefaultProfileNeeded if
    `is_default` is set to false on the default profile: make another profile the default instead.
    Raise Conflict if the carrier of a number that the profile answers cannot do what it needs.
    """
    _lock_settings(session)
    profile = get(session, ai_profile_id=ai_profile_id, for_update=True)
    if is_default is False and profile.is_default:
        raise DefaultProfileNeeded(
            "Make another profile the default; this profile then stops being the default."
        )
    changes = {name: value for name, value in content.items() if getattr(profile, name) != value}
    becomes_default = bool(is_default) and not profile.is_default
    if "transfer_targets" in changes or becomes_default:
        numbers = _answered_numbers(
            session,
            ai_profile_id,
            is_default=profile.is_default or becomes_default,
            services=services,
        )
        if "transfer_targets" in changes:
            _check_transfer_targets(
                session, changes["transfer_targets"], from_numbers=numbers, services=services
            )
        else:
            check_reachable(
                session, profile, from_numbers=numbers, field_name="is_default", services=services
            )
    if changes:
        _check_transfer_tool({"transfer_targets": profile.transfer_targets, **changes})
        for name, value in changes.items():
            setattr(profile, name, value)
        profile.version += 1
        _store_version(session, profile)
        session.flush()
        versions.prune_profile(session, ai_profile_id=profile.id, services=services)
    changed_fields = set(changes)
    if becomes_default:
        _make_default(session, profile)
        changed_fields.add("is_default")
    elif changes:
        _set_updated_at(session, profile)
    session.flush()
    services.callbacks.check_profile(
        session,
        ai_profile_id=profile.id,
        changed_fields=frozenset(changed_fields),
        services=services,
    )
    return profile


def delete(session: Session, *, services: Services, ai_profile_id: UUID) -> None:
    """Delete a profile; its versions stay, because calls refer to them and replays may use them.

    Of all deleted profiles together, the newest versions and those that calls name stay. Raise
    NotFound, DefaultProfileNeeded while other profiles exist and this one is the default, and
    ProfileInUse while a phone number uses it.
    """
    _lock_settings(session)
    profile = get(session, ai_profile_id=ai_profile_id, for_update=True)
    others_exist = session.scalar(select(exists().where(AiProfile.id != ai_profile_id)))
    if profile.is_default and others_exist:
        raise DefaultProfileNeeded("Make another profile the default before deleting this one.")
    session.delete(profile)
    try:
        session.flush()
    except IntegrityError as error:
        if db.constraint_name(error) == "phone_numbers_ai_profile_id_fkey":
            raise ProfileInUse("A phone number uses this profile.") from None
        raise
    versions.prune_deleted_profiles(session, services=services)


def check_reachable(
    session: Session,
    profile: AiProfile,
    *,
    services: Services,
    from_numbers: Collection[str],
    field_name: str,
) -> None:
    """Check that numbers which get the profile may dial its transfer targets.

    Raise InvalidInput for the field, and HomeCountryNeeded.
    """
    for name, decision in _denied_targets(
        session, profile.transfer_targets, from_numbers, services=services
    ):
        detail = f"The profile's transfer target `{name}` cannot be dialled: {decision.reason}"
        raise InvalidInput.field(field_name, f"{detail} ({decision.code}).")


def list_versions(session: Session, *, ai_profile_id: UUID, page: PageRequest) -> Page:
    """Return a page of a profile's versions, newest first. Raise NotFound."""
    get(session, ai_profile_id=ai_profile_id)
    return _VERSIONS.page(session, page, {"ai_profile_id": ai_profile_id})


def lock_version(session: Session, *, ai_profile_id: UUID, version: int) -> None:
    """Keep a version from being deleted until the transaction ends, which makes a call name it.

    Raise InvalidInput if it was deleted.
    """
    query = select(AiProfileVersion.version).filter_by(ai_profile_id=ai_profile_id, version=version)
    if session.scalar(query.with_for_update(read=True, key_share=True)) is None:
        raise InvalidInput.field("version", "The AI profile has no such version.")


def version_to_dict(version: AiProfileVersion) -> dict[str, Any]:
    """Return a version as one flat object."""
    return {
        **version.profile,
        "ai_profile_id": version.ai_profile_id,
        "version": version.version,
        "created_at": version.created_at,
    }


def _lock_settings(session: Session) -> None:
    """Lock the tenant's settings row to serialize changes: the default concerns all profiles."""
    settings.get(session, for_update=True)


def _check_transfer_tool(content: Mapping[str, Any]) -> None:
    """Raise InvalidInput if the content gives a profile the transfer tool without any target.

    Such a tool is never offered to the model. The last target of a profile can be removed: its
    number may have to be erased.
    """
    if "transfer" in content.get("tools", ()) and not content.get("transfer_targets"):
        raise InvalidInput.field("transfer_targets", "Required for the tool `transfer`.")


def _answered_numbers(
    session: Session, ai_profile_id: UUID | None, *, services: Services, is_default: bool
) -> Collection[str]:
    return services.callbacks.list_answered_numbers(
        session, ai_profile_id=ai_profile_id, is_default=is_default
    )


def _check_transfer_targets(
    session: Session,
    targets: Mapping[str, Any],
    *,
    services: Services,
    from_numbers: Collection[str],
) -> None:
    """Raise InvalidInput for targets that one of the numbers could not dial."""
    errors = [
        FieldError(
            f"/transfer_targets/{escape_pointer_step(name)}/number",
            f"This number cannot be dialled: {decision.reason} ({decision.code}).",
        )
        for name, decision in _denied_targets(session, targets, from_numbers, services=services)
    ]
    if errors:
        raise InvalidInput("The request is not valid.", errors=errors)


def _denied_targets(
    session: Session,
    targets: Mapping[str, Any],
    from_numbers: Collection[str],
    *,
    services: Services,
) -> Iterator[tuple[str, DialDecision]]:
    """Yield the targets that could not be dialled; without numbers, not from any number."""
    for name, target in targets.items():
        decision = settings.check_target_number(
            session, target["number"], from_numbers=from_numbers, services=services
        )
        if not decision.allowed:
            yield name, decision


def _make_default(session: Session, profile: AiProfile) -> None:
    """Make the profile the default.

    The previous default is unset and flushed first because the unique index does not allow two
    defaults even within one transaction.
    """
    session.flush()
    previous_default = session.scalars(select(AiProfile).where(AiProfile.is_default)).one_or_none()
    if previous_default is not None:
        previous_default.is_default = False
        _set_updated_at(session, previous_default)
        session.flush()
    profile.is_default = True
    _set_updated_at(session, profile)


def _set_updated_at(session: Session, profile: AiProfile) -> None:
    session.flush()
    profile.updated_at = session.scalars(select(func.now())).one()


def _store_version(session: Session, profile: AiProfile) -> None:
    content = {name: getattr(profile, name) for name in VERSIONED_FIELDS}
    session.add(
        AiProfileVersion(ai_profile_id=profile.id, version=profile.version, profile=content)
    )
