"""The database of a deployment, whose tenants are entered with roles of their own."""

from collections.abc import Collection

from typing_extensions import override

from vca.kit.db import Database, DatabaseObserver
from vca.tenancy import citus
from vca.tenancy.roles import NO_ROLES, Roles


class TenantDatabase(Database):
    """A database that contains the schemas of tenants.

    `roles` are the logins and the roles of tenants. `on_citus` is whether the database is a Citus
    cluster.
    """

    def __init__(
        self,
        dsn: str,
        *,
        roles: Roles = NO_ROLES,
        on_citus: bool = False,
        pool_size: int = 5,
        tenants_per_connection: int = 130,
        tenant_tables: Collection[str] = (),
        observer: DatabaseObserver | None = None,
    ) -> None:
        super().__init__(
            dsn,
            pool_size=pool_size,
            tenants_per_connection=tenants_per_connection,
            tenant_tables=tenant_tables,
            observer=observer,
        )
        self.roles = roles
        self.on_citus = on_citus
        if on_citus:
            citus.enable(self)

    @override
    def with_dsn(self, dsn: str, *, pool_size: int) -> "TenantDatabase":
        max_tenants, tables = self.catalogue_limits
        return TenantDatabase(
            dsn,
            roles=self.roles,
            on_citus=self.on_citus,
            pool_size=pool_size,
            tenants_per_connection=max_tenants,
            tenant_tables=tables,
            observer=self.observer,
        )
