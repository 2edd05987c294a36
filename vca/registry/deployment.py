"""The deployment that a database belongs to; a restored copy must not act as the original."""

from dataclasses import dataclass
from datetime import datetime

from psycopg2.extensions import parse_dsn
from sqlalchemy import Boolean, CheckConstraint, DateTime, Text, func, select, text
from sqlalchemy.orm import Mapped, Session, mapped_column

from vca.audit import context, redaction
from vca.kit.errors import Conflict
from vca.registry.base import PublicBase
from vca.settings import Settings
from vca.tenancy.roles import Roles

_FIND_DEPLOYMENT = text(
    "SELECT environment, public_base_url, role_prefix, web_login, worker_login"
    " FROM public.deployment"
)
_RECORD_DEPLOYMENT = text(
    """
    INSERT INTO public.deployment AS d
        (environment, public_base_url, role_prefix, web_login, worker_login)
    VALUES (:environment, :public_base_url, :prefix, :web, :worker)
    ON CONFLICT (only_one) DO UPDATE
    SET role_prefix = :prefix, web_login = :web, worker_login = :worker, updated_at = now()
    WHERE (d.role_prefix, d.web_login, d.worker_login) IS DISTINCT FROM (:prefix, :web, :worker)
    """
)
_RECORD_FIRST_URL = text("SELECT public.record_first_public_base_url(:public_base_url)")
_ADOPT_DATABASE = text(
    "UPDATE public.deployment SET environment = :environment,"
    " public_base_url = :public_base_url, updated_at = now()"
)


class DiallingNotFrozen(Conflict):
    """The database records no deployment, so the freeze cannot be stored."""

    code = "not-frozen"

    def __init__(self) -> None:
        super().__init__("Dialling was not frozen: run `flask db upgrade` first.")


class DeploymentRow(PublicBase):
    """The one row of the deployment."""

    __tablename__ = "deployment"
    __table_args__ = (CheckConstraint("only_one", name="only_one"),)

    only_one: Mapped[bool] = mapped_column(Boolean, primary_key=True, server_default=text("true"))
    environment: Mapped[str] = mapped_column(Text)
    public_base_url: Mapped[str] = mapped_column(Text)
    role_prefix: Mapped[str | None] = mapped_column(Text)
    web_login: Mapped[str] = mapped_column(Text)
    worker_login: Mapped[str] = mapped_column(Text)
    dialling_frozen_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    functions_release: Mapped[str | None] = mapped_column(Text)
    updated_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    unsigned_states_until: Mapped[datetime | None] = mapped_column(
        DateTime(timezone=True), server_default=func.now()
    )


@dataclass(frozen=True)
class Deployment:
    """An installation of VCA: its environment, its public URL, and the logins of its database."""

    environment: str
    public_base_url: str
    roles: Roles

    def differences(self, other: "Deployment") -> list[str]:
        """Return messages that say why `other` is another deployment; the logins may differ.

        A missing URL is not a difference: a deployment gets its first URL when its first carrier is
        configured.
        """
        urls = (self.public_base_url, other.public_base_url)
        pairs = [("APP_ENV", self.environment, other.environment)]
        if all(urls):
            pairs.append(("PUBLIC_BASE_URL", *urls))
        return [
            f"{name} is {other_value}, and the database says {own_value}"
            for name, own_value, other_value in pairs
            if own_value != other_value
        ]


def from_settings(settings: Settings) -> Deployment:
    """Return the deployment that the settings describe."""
    configured_roles = Roles(
        settings.role_prefix, login_name(settings.database_dsn), login_name(settings.worker_dsn)
    )
    return Deployment(settings.app_env, settings.public_base_url, configured_roles)


def login_name(dsn: str) -> str:
    """Return the login of a database URL, or an empty string if it names none."""
    return str(parse_dsn(dsn).get("user", ""))


def find_recorded(session: Session) -> Deployment | None:
    """Return the deployment that the database records, or None if it records none."""
    row = session.execute(_FIND_DEPLOYMENT).one_or_none()
    if row is None:
        return None
    environment, base_url, prefix, web, worker = row
    return Deployment(environment, base_url, Roles(prefix, web, worker))


def record_deployment(session: Session, deployment: Deployment) -> None:
    """Record the deployment in a new database, or update its logins, roles and first URL."""
    session.execute(_RECORD_DEPLOYMENT, _identity_values(deployment) | _login_values(deployment))
    check_identity(session, deployment)


def check_identity(session: Session, deployment: Deployment) -> list[str]:
    """Return messages that say why the database belongs to another deployment.

    The list is empty if the database belongs to this one. Records this deployment's PUBLIC_BASE_URL
    if the database has none yet.
    """
    recorded = find_recorded(session)
    if recorded is None:
        return []
    first_url = deployment.public_base_url and not recorded.public_base_url
    if first_url and not recorded.differences(deployment):
        session.execute(_RECORD_FIRST_URL, {"public_base_url": deployment.public_base_url})
        recorded = find_recorded(session) or recorded  # another process may have recorded one first
    return recorded.differences(deployment)


def adopt_database(session: Session, deployment: Deployment) -> None:
    """Make a restored copy of a database this deployment's own."""
    session.execute(_ADOPT_DATABASE, _identity_values(deployment))
    changes = dict.fromkeys(("environment", "public_base_url"), redaction.WITHHELD)
    context.record_change(session, "deployment", None, changes=changes)


def freeze_dialling(session: Session, *, frozen: bool) -> None:
    """Stop or resume dialling for all tenants, beginning with the next leg.

    Raises DiallingNotFrozen if the database records no deployment.
    """
    session.execute(select(func.public.freeze_dialling(frozen)))
    if frozen and session.scalar(select(DeploymentRow.dialling_frozen_at)) is None:
        raise DiallingNotFrozen
    changes = {"dialling_frozen": redaction.plain_change(None, frozen)}
    context.record_change(session, "deployment", None, changes=changes)


def _identity_values(deployment: Deployment) -> dict[str, str]:
    return {
        "environment": deployment.environment,
        "public_base_url": deployment.public_base_url,
    }


def _login_values(deployment: Deployment) -> dict[str, str | None]:
    login_roles = deployment.roles
    return {"prefix": login_roles.prefix, "web": login_roles.web, "worker": login_roles.worker}
