"""What the processes of a deployment share: one frozen object, built from the settings.

`create_app` builds it and stores it as `app.extensions["vca"]`. Views and commands take it from
their app, jobs receive it from the worker, and everything below receives it as an argument.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from flask import current_app
from sqlalchemy import ColumnElement
from sqlalchemy.orm import Session

from vca.conversation.llm.models import Models
from vca.conversation.types import Limits
from vca.kit.encryption import Keyring
from vca.kit.http import OutgoingClient
from vca.kit.mail import Mailer
from vca.kit.storage import Store
from vca.services.lifecycle_hooks import FeatureHooks
from vca.settings import Settings
from vca.telephony.providers import Carriers
from vca.tenancy.database import TenantDatabase

EXTENSION = "vca"


class AnsweredNumberLister(Protocol):
    """Returns at least one number of each country that a profile answers.

    `ai_profile_id` is None for a profile that is not stored yet.
    """

    def __call__(
        self, session: Session, *, ai_profile_id: UUID | None, is_default: bool
    ) -> Collection[str]:
        """Return the numbers."""


class ProfileCheck(Protocol):
    """Checks a changed profile against the numbers that it answers.

    `changed_fields` are the names of the fields that changed, with `is_default` among them if the
    profile has become the default.
    """

    def __call__(
        self,
        session: Session,
        *,
        ai_profile_id: UUID,
        changed_fields: frozenset[str],
        services: "Services",
    ) -> None:
        """Raise Conflict if the carriers of these numbers lack what the profile needs."""


class BrowserCallCheck(Protocol):
    """Checks whether the tenant may dial from a number now, as a browser would."""

    def __call__(self, session: Session, from_number: str, *, services: "Services") -> None:
        """Raise DomainError if it may not."""


@dataclass(frozen=True)
class FeatureCallbacks:
    """Functions of a tenant's features that lower features call, because they may not import them.

    - `list_number_samples` returns at least one of the tenant's numbers of each country.
    - `find_named_versions` returns the condition under which a call names a profile's version.
    - `count_live_calls` returns the number of the tenant's live calls, and what they reserve in
      millionths of a minor unit.
    - `find_account_use` returns what uses an account with a carrier, or None.
    """

    list_number_samples: Callable[[Session], Collection[str]]
    list_answered_numbers: AnsweredNumberLister
    find_named_versions: Callable[[Session], ColumnElement[bool]]
    check_profile: ProfileCheck
    check_browser_calls: BrowserCallCheck
    count_live_calls: Callable[[Session], tuple[int, int]]
    find_account_use: Callable[[Session, UUID], str | None]


@dataclass(frozen=True)
class Services:
    """The database, the clients of other systems and the settings of one deployment.

    All of them may be used by several threads. `mailer` is None if no mail is sent. `limits` apply
    to every call.
    """

    settings: Settings
    database: TenantDatabase
    keyring: Keyring
    store: Store
    mailer: Mailer | None
    http_client: OutgoingClient
    carriers: Carriers
    models: Models
    limits: Limits
    lifecycle_hooks: FeatureHooks
    callbacks: FeatureCallbacks

    def callback_url(self, carrier_name: str) -> str:
        """Return the base URL of a carrier's requests; the action follows it."""
        return f"{self.settings.public_base_url}/telephony/{carrier_name}/"

    def can_answer(self, *, simulated: bool) -> bool:
        """Return whether a model may answer.

        In production, scripted models only answer simulations.
        """
        production_call = self.settings.production and not simulated
        return self.models.primary.for_real_callers or not production_call


def current_services() -> Services:
    """Return the services of the current app, for views and commands."""
    services: Services = current_app.extensions[EXTENSION]
    return services
