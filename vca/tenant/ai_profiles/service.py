"""Keep a tenant's AI profiles: one default, a version for each change."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import exists, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from vca.kit import db
from vca.kit.errors import Conflict, FieldError, InvalidInput, NotFound
from vca.kit.json import escape_pointer_step
from vca.kit.paging import Listing, Page, PageRequest
from vca.tenant.ai_profiles.models import VERSIONED_FIELDS, AiProfile, AiProfileVersion
from vca.tenant.settings import service as settings

_LISTING = Listing(AiProfile, (AiProfile.created_at, AiProfile.id))
_VERSIONS = Listing(AiProfileVersion, (AiProfileVersion.version,), newest_first=True)
# A profile of which nothing but the system prompt was said.
DEFAULT_FIELDS: dict[str, Any] = {
    **dict.fromkeys(VERSIONED_FIELDS),
    "role": "custom",
    "end_phrases": [],
    "tools": [],
    "transfer_targets": {},
    "recording": False,
    "redaction": {},
}


class DefaultProfileNeeded(Conflict):
    """A tenant with profiles always has exactly one default."""

    code = "default-profile-needed"


class ProfileInUse(Conflict):
    """A phone number names this profile."""

    code = "profile-in-use"


def create(session: Session, *, is_default: bool = False, **content: Any) -> AiProfile:
    """Make a profile at version 1; the tenant's first becomes the default whatever was asked.

    Raises InvalidInput for a target that could never be dialled.
    """
    _lock_settings(session)
    _check_transfer_targets(session, content.get("transfer_targets", {}))
    is_first = not session.scalar(select(exists().where(AiProfile.id.is_not(None))))
    content = {**DEFAULT_FIELDS, **content}
    content["name"] = content["name"] or content["role"]
    profile = AiProfile(id=uuid4(), version=1, is_default=False, **content)
    session.add(profile)
    _store_version(session, profile)
    if is_first or is_default:
        _make_default(session, profile)
    session.flush()
    return profile


def get(session: Session, *, ai_profile_id: UUID, for_update: bool = False) -> AiProfile:
    """The profile as it is now; raises NotFound."""
    profile = session.get(AiProfile, ai_profile_id, with_for_update=for_update or None)
    if profile is None:
        raise NotFound
    return profile


def list_page(session: Session, *, page: PageRequest, **filters: Any) -> Page:
    """The tenant's profiles, oldest first."""
    return _LISTING.page(session, page, filters)


def change(
    session: Session, *, ai_profile_id: UUID, is_default: bool | None = None, **content: Any
) -> AiProfile:
    """Change what is given; a change of content is a new version.

    Raises NotFound, InvalidInput for a target that could never be dialled, and DefaultProfileNeeded
    when the default should stop being it: make another one the default instead.
    """
    _lock_settings(session)
    profile = get(session, ai_profile_id=ai_profile_id, for_update=True)
    if is_default is False and profile.is_default:
        raise DefaultProfileNeeded(
            "Make another profile the default; this one then stops being it."
        )
    changes = {name: value for name, value in content.items() if getattr(profile, name) != value}
    if changes:
        _check_transfer_targets(session, changes.get("transfer_targets", {}))
        for name, value in changes.items():
            setattr(profile, name, value)
        profile.version += 1
        _store_version(session, profile)
    if is_default and not profile.is_default:
        _make_default(session, profile)
    elif changes:
        _set_updated_at(session, profile)
    session.flush()
    return profile


def delete(session: Session, *, ai_profile_id: UUID) -> None:
    """Remove a profile; its versions stay, since calls refer to them.

    Raises NotFound, DefaultProfileNeeded while others exist, ProfileInUse while a number names it.
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
            raise ProfileInUse("A phone number names this profile.") from None
        raise


def list_versions(session: Session, *, ai_profile_id: UUID, page: PageRequest) -> Page:
    """Every version of a profile, newest first; raises NotFound."""
    get(session, ai_profile_id=ai_profile_id)
    return _VERSIONS.page(session, page, {"ai_profile_id": ai_profile_id})


def version_to_dict(version: AiProfileVersion) -> dict[str, Any]:
    """A version as one flat object."""
    return {
        **version.profile,
        "ai_profile_id": version.ai_profile_id,
        "version": version.version,
        "created_at": version.created_at,
    }


def _lock_settings(session: Session) -> None:
    """Which profile is the default concerns all of them: changes take turns within a tenant."""
    settings.get(session, for_update=True)


def _check_transfer_targets(session: Session, targets: Mapping[str, Any]) -> None:
    """Raise InvalidInput for what the tenant could dial from none of its numbers."""
    errors = []
    for name, target in targets.items():
        decision = settings.check_target_number(session, target["number"], from_number=None)
        if not decision.allowed:
            pointer = f"/transfer_targets/{escape_pointer_step(name)}/number"
            detail = f"Cannot be dialled: {decision.reason} ({decision.code})."
            errors.append(FieldError(pointer, detail))
    if errors:
        raise InvalidInput("The request is not valid.", errors=errors)


def _make_default(session: Session, profile: AiProfile) -> None:
    """The unique index would refuse two defaults even for a moment, so the old one goes first."""
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
