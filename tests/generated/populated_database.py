"""The database that all cells of a process share. Every cell finds it as it was populated."""

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from uuid import UUID

from flask import Flask

from tests.support import database_templates
from tests.support.accounts import WebRtcCarrier
from tests.support.database_restorer import Change, DatabaseRestorer
from tests.support.database_templates import DatabaseTemplates
from tests.support.db_snapshot import SnapshotChecker, schema_of
from tests.support.factories import Factory
from tests.support.populated_tenant import PopulatedTenant, SignedCarrierClient
from tests.support.services import app_services, use_carriers, use_database, use_services
from vca.kit import clock
from vca.kit.storage import Store
from vca.registry.idempotency import service as idempotency
from vca.services import Services
from vca.settings import Settings
from vca.telephony.providers import Carriers
from vca.tenancy.database import TenantDatabase
from vca.tenancy.session import public_session, tenant_session
from vca.tenant.calls.routing import decision_request
from vca.tenant.calls.routing.decision_request import DecisionRequest
from vca.tenant.calls.routing.routing_rules import WebhookDecision
from vca.tenant.privacy import data_export
from vca.tenant.recordings.media import tenant_folder


class PopulatedDatabase:
    """The tenants Acme and Globex, and a platform key, in the database that is current now."""

    def __init__(
        self,
        app: Flask,
        acme: PopulatedTenant,
        globex: PopulatedTenant,
        pop_leaked_lines: Callable[[], list[str]],
    ) -> None:
        self.app = app
        self.acme = acme
        self.globex = globex
        self._pop_leaked_lines = pop_leaked_lines
        self._database = app_services().database
        self._settings: Settings = app_services().settings
        self.world = Factory(app)
        self.platform = self.world.platform()
        _store_export(acme)
        # Only an active webhook accepts a request to redeliver events.
        acme.tenant.patch(f"/webhooks/{acme.ids['webhook_id']}", {"is_active": True})
        self.platform.api.patch(
            f"/api/webhooks/{acme.platform_ids['webhook_id']}", {"is_active": True}
        )
        # The first request with an idempotency key schedules this job, even if it is refused.
        with public_session(database=app_services().database) as session:
            idempotency.schedule_cleanup(session, now=clock.now())
        with tenant_session(acme.tenant.ref, database=app_services().database) as session:
            idempotency.schedule_cleanup(session, now=clock.now())
        self.checker = SnapshotChecker(self._settings.migration_database_url)
        self._restorer = DatabaseRestorer(self._settings.migration_database_url)
        self._checksums = self.checksums()
        self._store = app_services().store
        self._files = _read_files(self._store, acme)
        self._changes: list[Change] | None = []

    @classmethod
    @contextmanager
    def open(
        cls,
        app: Flask,
        templates: DatabaseTemplates,
        pop_leaked_lines: Callable[[], list[str]],
    ) -> Iterator["PopulatedDatabase"]:
        """Populate a database and yield it. The process uses it only inside `use`."""
        previous_database, previous_settings = app_services().database, app_services().settings
        with templates.use_copy(database_templates.two_populated) as (acme, globex):
            database = cls(app, acme, globex, pop_leaked_lines)
            _set_current(app, previous_database, previous_settings)
            yield database
            database.close()
            _set_current(app, database._database, database._settings)

    def close(self) -> None:
        """Close the connections that read the database. Fail if the last cell left any change."""
        assert self.checksums() == self._checksums
        self.checker.close()
        self._restorer.close()

    @cached_property
    def carrier(self) -> WebRtcCarrier:
        """Return the fake carrier of the current cell, which supports every operation."""
        return WebRtcCarrier(f"fake-carrier|{self._settings.secret_key}")

    @property
    def carrier_client(self) -> SignedCarrierClient:
        """Return a client that sends signed requests of the fake carrier."""
        return SignedCarrierClient(self.world, self.carrier)

    @contextmanager
    def use(self) -> Iterator[None]:
        """Make the process use this database, with a new fake carrier; restore both at the end.

        No decision webhook is called, because the webhooks of the tenants do not exist. The block
        must log no personal data.
        """
        previous_database, previous_carriers = app_services().database, app_services().carriers
        previous_settings = app_services().settings
        request_decision = decision_request.request_decision
        vars(self).pop("carrier", None)
        _set_current(self.app, self._database, self._settings)
        use_carriers(Carriers(self._settings)).register(self.carrier)
        decision_request.request_decision = _no_decision
        try:
            yield
        finally:
            decision_request.request_decision = request_decision
            use_carriers(previous_carriers)
            _set_current(self.app, previous_database, previous_settings)
            leaked_lines = self._pop_leaked_lines()
            self.restore()
        assert leaked_lines == []

    def expect_writes(self) -> None:
        """Forget what is known about the rows; call it before a request."""
        self._changes = None

    def changes(self) -> list[Change]:
        """Return the tables whose rows are not those of the populated database."""
        self._changes = self._restorer.changes()
        return self._changes

    def restore(self) -> None:
        """Restore the rows, and the files of Acme, if anything was written."""
        changes = self.changes() if self._changes is None else self._changes
        if changes:
            self._restorer.restore(changes)
            self._restore_files()
        self._changes = []

    def checksums(self) -> tuple[Mapping[str, str | None], Mapping[str, str | None]]:
        """Return the checksums of all rows of Acme and of Globex by table."""
        acme_id, globex_id = self.acme.tenant.id, self.globex.tenant.id
        return self.checker.checksum(acme_id), self.checker.checksum(globex_id)

    def globex_changes(self, changes: Collection[Change]) -> list[str]:
        """Return the tables of these in which rows of Globex changed."""
        schema = schema_of(self.globex.tenant.id)
        changed_tables = [change.table for change in changes]
        own_tables = [table for table in changed_tables if table.startswith(f"{schema}.")]
        if own_tables or all(table.startswith("t_") for table in changed_tables):
            return own_tables
        rows = self.checker.checksum(self.globex.tenant.id)
        return [table for table, digest in rows.items() if digest != self._checksums[1][table]]

    def _restore_files(self) -> None:
        files = _read_files(self._store, self.acme)
        if files != self._files:
            for key in files.keys() - self._files.keys():
                self._store.delete(key)
            for key, content in self._files.items():
                self._store.put(key, iter([content]), content_type="audio/wav")


def _set_current(app: Flask, database: TenantDatabase, settings: Settings) -> None:
    use_services(settings=settings)
    use_database(database)


def _no_decision(request: DecisionRequest, *, services: Services) -> WebhookDecision:
    return WebhookDecision("decision webhooks are not called by generated tests")


def _store_export(tenant: PopulatedTenant) -> None:
    """Store the file of the tenant's export."""
    key = data_export.storage_key(tenant.tenant.ref, UUID(tenant.ids["export_id"]))
    app_services().store.put(key, [tenant.marker.encode()], content_type=data_export.CONTENT_TYPE)


def _read_files(store: Store, tenant: PopulatedTenant) -> Mapping[str, bytes]:
    keys = store.keys(tenant_folder(tenant.tenant.ref))
    return {key: b"".join(store.open(key)) for key in keys}
