"""Who enters tenants: the logins, and the database role of each tenant."""

from dataclasses import dataclass

from vca.tenancy.schema import TenantRef


@dataclass(frozen=True)
class Roles:
    """`prefix` is what tenants' roles begin with; None: tenants are entered as the login itself."""

    prefix: str | None
    web: str
    worker: str

    def role_name(self, tenant: TenantRef) -> str | None:
        """The role that a transaction in `tenant` takes on, if any."""
        return None if self.prefix is None else tenant.role(self.prefix)

    def grantees(self, tenant: TenantRef) -> str:
        """To whom the tenant's tables are granted, as SQL: a list of quoted names."""
        role = self.role_name(tenant)
        names = [role] if role is not None else sorted({self.web, self.worker})
        return ", ".join(quote_identifier(name) for name in names)


def quote_identifier(name: str) -> str:
    """An identifier as SQL."""
    return '"' + name.replace('"', '""') + '"'


_current = Roles(None, "", "")


def set_current_roles(roles: Roles) -> Roles:
    """Make these the process's own; returns them."""
    global _current
    _current = roles
    return roles


def current_roles() -> Roles:
    """The process's roles; before `use` there are none."""
    return _current
