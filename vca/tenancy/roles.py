"""The database roles that enter tenants: the logins, and a role for each tenant."""

from dataclasses import dataclass

from vca.tenancy.schema import TenantRef


@dataclass(frozen=True)
class Roles:
    """The logins, and the prefix of the tenants' role names.

    With `prefix` None, tenants have no roles and are entered as the login itself.
    """

    prefix: str | None
    web: str
    worker: str

    def role_name(self, tenant: TenantRef) -> str | None:
        """Return the role that a transaction in `tenant` takes on, if any."""
        return None if self.prefix is None else tenant.role(self.prefix)

    def grantees(self, tenant: TenantRef) -> str:
        """Return the names to which the tenant's tables are granted, as an SQL list."""
        role = self.role_name(tenant)
        names = [role] if role is not None else sorted({self.web, self.worker})
        return ", ".join(quote_identifier(name) for name in names)


# Tenants without roles, which are entered as whatever login the database has.
NO_ROLES = Roles(None, "", "")


def quote_identifier(name: str) -> str:
    """Return an identifier as SQL."""
    return '"' + name.replace('"', '""') + '"'
