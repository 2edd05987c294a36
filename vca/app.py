"""The composition root: knows every room, does nothing itself."""

from collections.abc import Callable
from datetime import timedelta
from importlib import import_module
from typing import Any

from flask import Flask

from vca.api import (
    carrier,
    docs,
    errors,
    guards,
    health,
    idempotency,
    limits,
    metrics,
    openapi,
    requests,
    streams,
)
from vca.conversation.llm.models import models_for
from vca.conversation.types import Limits
from vca.kit import at_rest, cli, crash, db, disclosure, http, jobs, log, mail, storage
from vca.kit.config import Settings, SettingsError, settings_or_exit
from vca.kit.db import Database
from vca.kit.json import FastJson
from vca.registry import deployment
from vca.registry.api_keys import routes as api_keys
from vca.registry.audit import routes as platform_audit
from vca.registry.audit import trail
from vca.registry.dids import routes as dids
from vca.registry.tenants import product
from vca.registry.tenants import routes as tenants
from vca.registry.tenants import service as tenant_service
from vca.registry.usage import routes as all_usage
from vca.registry.webhooks import routes as operator_webhooks
from vca.telephony import providers
from vca.telephony.providers import ADAPTERS, Carriers
from vca.tenancy import citus
from vca.tenant import sealed
from vca.tenant.ai_profiles import routes as ai_profiles
from vca.tenant.audit import routes as audit
from vca.tenant.calls import account_needs, desk, long_answers, record, watch
from vca.tenant.calls import routes as calls
from vca.tenant.calls.desk import Desk
from vca.tenant.messages import routes as messages
from vca.tenant.models import metadata as tenant_tables
from vca.tenant.phone_numbers import ownership
from vca.tenant.phone_numbers import routes as phone_numbers
from vca.tenant.privacy import ledger
from vca.tenant.privacy import routes as privacy
from vca.tenant.recordings import retention
from vca.tenant.recordings import routes as recordings
from vca.tenant.settings import routes as settings
from vca.tenant.telephony_accounts import routes as telephony_accounts
from vca.tenant.telephony_accounts import service as accounts
from vca.tenant.usage import adopted, cap
from vca.tenant.usage import routes as usage
from vca.tenant.webhooks import copies
from vca.tenant.webhooks import routes as webhooks

# Every operation hangs on one of these; each view declares its own access.
FEATURES = (
    health.blp,
    docs.blp,
    metrics.blp,
    tenants.blp,
    settings.blp,
    api_keys.blp,
    dids.blp,
    phone_numbers.blp,
    telephony_accounts.blp,
    ai_profiles.blp,
    calls.blp,
    recordings.blp,
    messages.blp,
    webhooks.blp,
    operator_webhooks.blp,
    audit.blp,
    platform_audit.blp,
    usage.blp,
    all_usage.blp,
    privacy.blp,
    carrier.blp,
)
# Modules whose import registers job tasks.
TASKS = (
    "vca.tenant.calls.tasks",
    "vca.tenant.phone_numbers.tasks",
    "vca.tenant.recordings.tasks",
    "vca.tenant.messages.tasks",
    "vca.tenant.idempotency.tasks",
    "vca.tenant.webhooks.tasks",
    "vca.tenant.privacy.tasks",
    "vca.registry.webhooks.tasks",
)
# `module:command` of each command.
COMMANDS = {
    "db": "vca.registry.commands:db_commands",
    "tenants": "vca.registry.tenants.commands:tenants",
    "dids": "vca.registry.dids.commands:dids",
    "api-keys": "vca.registry.api_keys.commands:api_keys",
    "dialling": "vca.tenant.settings.commands:dialling",
    "calls": "vca.tenant.calls.commands:calls",
    "telephony": "vca.tenant.calls.carrier_commands:telephony",
    "secrets": "vca.tenant.secrets.commands:secrets",
    "usage": "vca.tenant.usage.commands:usage",
    "privacy": "vca.tenant.privacy.commands:privacy",
    "telnyx": "vca.telephony.providers.telnyx.commands:telnyx",
    "worker": "vca.serve.worker:worker",
    "demo": "vca.serve.demo:demo",
    "up": "vca.serve.up:up",
}


class Vca(Flask):
    """The app; no view of it is asynchronous, which Flask would ask at every layer of each."""

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        return func


def create_app(given: Settings | None = None) -> Flask:
    """The whole product as a WSGI app and a command line.

    Without settings they are read from the environment; what is wrong with them ends the process.
    """
    found = given or settings_or_exit()
    log.configure(found.log_level, development=found.debug)
    app = Vca("vca", static_folder=None)
    app.json = FastJson(app)
    _configure(app, found)
    _connect(app, found)
    _serve(app)
    for path in TASKS:
        import_module(path)
    jobs.use_gate(tenant_service.require_supported)
    app.cli = cli.Commands(COMMANDS)
    return app


def _configure(app: Flask, found: Settings) -> None:
    app.config.update(
        APP_NAME=found.app_name,
        SECRET_KEY=found.secret_key,
        PEPPERS=found.peppers,
        METRICS_TOKEN=found.metrics_token,
        PUBLIC_BASE_URL=found.public_base_url,
        CLAIMS_ARE_OPEN=found.claims_are_open,
        MODELS=found.models,
        PROVIDE_AUTOMATIC_OPTIONS=False,
        PROPAGATE_EXCEPTIONS=False,
        API_TITLE=f"{found.app_name} API",
        API_VERSION="1",
        OPENAPI_VERSION=openapi.VERSION,
    )
    app.extensions["settings"] = found


def _connect(app: Flask, found: Settings) -> None:
    """Give the process its database, carriers, model, store and mail; none is asked yet."""
    db.use(
        Database(
            found.database_dsn,
            pool_size=found.database_pool_size,
            tenants_per_connection=found.tenants_per_connection,
            tenant_tables=tenant_tables.tables,
        )
    )
    crash.use(found.crash_folder)
    deployment.use(found)
    citus.use(found.on_citus)
    carriers = providers.use(Carriers(found))
    if carriers.default and carriers.adapter(carriers.default) is None:
        known = ", ".join(ADAPTERS)
        raise SettingsError(
            [f"TELEPHONY_PROVIDER is {carriers.default}: no such carrier is configured ({known})"]
        )
    models = models_for(
        base_url=found.llm_base_url,
        api_key=found.llm_api_key,
        model=found.llm_model,
        timeout_s=found.llm_timeout_s,
        listed=found.models,
        fallback_base_url=found.llm_fallback_base_url,
        fallback_api_key=found.llm_fallback_api_key,
        fallback_model=found.llm_fallback_model,
    )
    at_rest.use(at_rest.Keys(found.keys_at_rest))
    disclosure.use(found.peppers[0])
    trail.install()
    ledger.use(found.peppers)
    http.use(http.opened(found))
    storage.use(storage.opened(found))
    mail.use(mail.opened(found))
    product.use(
        product.Product(
            disown=ownership.disown,
            adrift=ownership.adrift,
            discard=retention.discard,
            reseal=sealed.reseal,
            hush=copies.hush,
            recount=adopted.recount,
        )
    )
    desk.use(
        Desk(
            found.secret_key,
            models,
            found.public_base_url,
            Limits(found.call_token_limit or None),
            found.production,
            found.relay_slots,
        )
    )
    cap.use(record.live)
    accounts.use(account_needs.by)
    watch.use(timedelta(seconds=found.call_silence_s))
    long_answers.use(found.simulation_streams)


def _serve(app: Flask) -> None:
    requests.install(app)
    idempotency.install(app)
    streams.install(app)
    api = openapi.Api(app)
    errors.install(app)
    limits.install(app, limits.Rates.of(app.extensions["settings"]))
    for blueprint in FEATURES:
        api.register_blueprint(blueprint)
    if app.extensions["settings"].serves_relay:
        sockets = import_module("vca.serve.relay")  # nobody else needs what it imports
        sockets.install(app, refused=carrier.signature_refused)
    app.extensions["openapi"] = docs.rendered(openapi.document(app, api))
    guards.install(app)
