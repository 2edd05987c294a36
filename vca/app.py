"""The composition root: connects all packages and contains no logic of its own."""

from collections.abc import Callable
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any

from flask import Flask
from typing_extensions import override

from vca import cli
from vca.api import (
    admission,
    carrier_webhooks,
    docs,
    errors,
    guards,
    idempotency,
    limits,
    openapi,
    requests,
    streams,
)
from vca.conversation.llm.models import Models, create_models
from vca.conversation.types import Limits
from vca.jobs import queue
from vca.kit import failpoints, storage
from vca.kit.db import DatabaseObserver
from vca.kit.encryption import Keyring
from vca.kit.http import OutgoingClient, UrlPolicy
from vca.kit.mail import Mailer
from vca.kit.storage import Store
from vca.kit.web.json_provider import OrjsonProvider
from vca.observability import log
from vca.observability.metrics import DATABASE_OUTAGES, DATABASE_TIMEOUTS, JOBS, POOL_WAIT_SECONDS
from vca.registry import deployment
from vca.registry.audit import recorder
from vca.services import EXTENSION, FeatureCallbacks, Services
from vca.services.lifecycle_hooks import FeatureHooks
from vca.settings import ROOT, Settings, SettingsError, settings_or_exit
from vca.telephony.providers import ADAPTERS, Carriers
from vca.tenancy.database import TenantDatabase
from vca.tenant.calls.core import (
    account_usage,
    live_usage,
    named_versions,
    outbound_legs,
)
from vca.tenant.calls.simulation import silent_callee
from vca.tenant.models import metadata as tenant_tables
from vca.tenant.phone_numbers import number_samples, provider_compatibility

# Every feature, in the order of the API's documentation: a package with `routes.blp`, `tasks` or
# `lifecycle.HOOKS`, or a module with `blp`. Each view declares its own access. Calls come before
# the features whose rows refer to them: erasures of personal data use the reverse order.
FEATURES = (
    "vca.api.health",
    "vca.api.docs",
    "vca.api.metrics",
    "vca.registry.tenants",
    "vca.tenant.settings",
    "vca.registry.api_keys",
    "vca.registry.number_registry",
    "vca.tenant.phone_numbers",
    "vca.tenant.telephony_accounts",
    "vca.tenant.ai_profiles",
    "vca.tenant.calls",
    "vca.tenant.recordings",
    "vca.tenant.messages",
    "vca.tenant.webhooks",
    "vca.registry.webhooks",
    "vca.tenant.audit",
    "vca.registry.audit",
    "vca.tenant.usage",
    "vca.registry.usage",
    "vca.tenant.idempotency",
    "vca.registry.idempotency",
    "vca.tenant.privacy",
    "vca.api.carrier_webhooks",
)
DATABASE_OBSERVER = DatabaseObserver(
    pool_wait=POOL_WAIT_SECONDS.observe,
    timeout=lambda sqlstate: DATABASE_TIMEOUTS.inc(sqlstate=sqlstate),
    outage=lambda reason: DATABASE_OUTAGES.inc(reason=reason),
)
CALLBACKS = FeatureCallbacks(
    list_number_samples=number_samples.list_all,
    list_answered_numbers=number_samples.list_answered,
    find_named_versions=named_versions.is_named,
    check_profile=provider_compatibility.check_numbers_of_profile,
    check_browser_calls=outbound_legs.check_browser_calls,
    count_live_calls=live_usage.count_live_calls,
    find_account_use=account_usage.describe_account_usage,
)
# `module:command` and the short help of each command.
COMMANDS = {
    "db": ("vca.registry.commands:db_commands", "Manage the database and the public schema."),
    "tenants": (
        "vca.registry.tenants.commands:tenants",
        "Manage tenants and migrate their schemas.",
    ),
    "dids": (
        "vca.registry.number_registry.commands:dids",
        "Manage the number registry of all tenants.",
    ),
    "api-keys": ("vca.registry.api_keys.commands:api_keys", "Manage API keys."),
    "dialling": (
        "vca.tenant.calls.dialling_commands:dialling",
        "Freeze and resume outbound dialling.",
    ),
    "calls": ("vca.tenant.calls.commands:calls", "Simulate, end, reconcile and replay calls."),
    "telephony": (
        "vca.tenant.calls.carrier_commands:telephony",
        "Check and register numbers at carriers.",
    ),
    "models": ("vca.tenant.calls.model_commands:models", "Check the language models."),
    "secrets": (
        "vca.tenant.key_rotation.commands:secrets",
        "Manage the encryption of stored secrets.",
    ),
    "usage": ("vca.tenant.usage.commands:usage", "Manage plan versions and correct usage."),
    "privacy": ("vca.tenant.privacy.commands:privacy", "Repeat erasures after a restore."),
    "telnyx": (
        "vca.telephony.providers.telnyx.commands:telnyx",
        "Manage the deployment's Telnyx account.",
    ),
    "jobs": ("vca.registry.job_lanes.commands:jobs", "Show the job queue."),
    "worker": ("vca.servers.worker:worker", "Run jobs until SIGTERM or Ctrl-C."),
    "demo": ("vca.devtools.demo_data:demo", "Create two demo tenants."),
    "up": ("vca.devtools.dev_server:up", "Run everything for development."),
}


def feature_modules(name: str) -> list[ModuleType]:
    """Import the module called `name` of each feature that has one, in the order of `FEATURES`.

    Importing `tasks` registers the tasks of jobs. A feature that is a module has only `routes`.
    """
    modules = []
    for feature in FEATURES:
        try:
            module = import_module(feature)
            if not hasattr(module, "__path__"):
                modules += [module] if name == "routes" else []
            elif find_spec(f"{feature}.{name}") is not None:
                modules.append(import_module(f"{feature}.{name}"))
        except Exception as error:
            error.add_note(f"Feature: {feature}")
            raise
    return modules


def load_feature_hooks() -> FeatureHooks:
    """Return the lifecycle hooks of all features; raise LifecycleError if a table has none."""
    hooks = [module.HOOKS for module in feature_modules("lifecycle")]
    return FeatureHooks(hooks, table_names=tenant_tables.tables)


class Vca(Flask):
    """The Flask app, without support for asynchronous views.

    Flask would check each view for that at every layer around it.
    """

    @override
    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        return func


def create_app(explicit_settings: Settings | None = None) -> Flask:
    """Create the whole product as a WSGI app and a command line.

    Without settings they are read from the environment. Invalid settings end the process.
    """
    config = explicit_settings or settings_or_exit()
    log.configure(config.log_level, development=config.debug)
    app = Vca("vca", static_folder=None)
    app.json = OrjsonProvider(app)
    _set_flask_config(app, config)
    app.extensions[EXTENSION] = create_services(config)
    failpoints.set_failpoint_folder(config.crash_folder)
    recorder.install_listeners()
    feature_modules("tasks")
    JOBS.add_label_values("task", queue.TASKS)
    _register_routes(app, config)
    app.cli = cli.Commands(COMMANDS)
    return app


def _set_flask_config(app: Flask, config: Settings) -> None:
    app.config.update(
        APP_NAME=config.app_name,
        SECRET_KEY=config.secret_key,
        PEPPERS=config.peppers,
        METRICS_TOKEN=config.metrics_token,
        PUBLIC_BASE_URL=config.public_base_url,
        CLAIMS_ARE_OPEN=config.claims_are_open,
        MODELS=config.models,
        DIALLABLE_PREFIXES=config.diallable_prefixes,
        USES_EMBEDDED_DATABASE=config.embedded_folder is not None,
        PROVIDE_AUTOMATIC_OPTIONS=False,
        PROPAGATE_EXCEPTIONS=False,
        API_TITLE=f"{config.app_name} API",
        API_VERSION="1",
        OPENAPI_VERSION=openapi.VERSION,
    )


def create_services(config: Settings) -> Services:
    """Build the services of a deployment; nothing connects yet. Raises SettingsError."""
    services = Services(
        settings=config,
        database=TenantDatabase(
            config.database_dsn,
            roles=deployment.from_settings(config).roles,
            on_citus=config.on_citus,
            pool_size=config.database_pool_size,
            tenants_per_connection=config.tenants_per_connection,
            tenant_tables=tenant_tables.tables,
            observer=DATABASE_OBSERVER,
        ),
        keyring=Keyring(config.keys_at_rest),
        store=recording_store(config),
        mailer=mailer(config),
        http_client=outgoing_client(config),
        carriers=_create_carriers(config),
        models=_create_models(config),
        limits=Limits(config.call_token_limit or None),
        lifecycle_hooks=load_feature_hooks(),
        callbacks=CALLBACKS,
    )
    services.carriers.simulator.callee = partial(silent_callee.answer_call, services=services)
    return services


def _create_carriers(config: Settings) -> Carriers:
    carriers = Carriers(config)
    if carriers.default and carriers.adapter(carriers.default) is None:
        carrier_names = ", ".join(ADAPTERS)
        raise SettingsError(
            [
                f"TELEPHONY_PROVIDER is {carriers.default}, "
                f"but no such carrier is configured (known: {carrier_names})"
            ]
        )
    return carriers


def _create_models(config: Settings) -> Models:
    return create_models(
        base_url=config.llm_base_url,
        api_key=config.llm_api_key,
        model=config.llm_model,
        timeout_s=config.llm_timeout_s,
        first_token_s=config.llm_first_token_s.default_s,
        first_token_s_of=dict(config.llm_first_token_s.by_name),
        allowed_models=config.models,
        fallback_base_url=config.llm_fallback_base_url,
        fallback_api_key=config.llm_fallback_api_key,
        fallback_model=config.llm_fallback_model,
    )


def recording_store(config: Settings) -> Store:
    """Return the store of `RECORDING_STORE`, unconnected."""
    return storage.open_store(
        config.recording_store,
        root=ROOT,
        endpoint_url=config.s3_endpoint_url or None,
        region=config.s3_region or None,
        presign=config.s3_presign,
    )


def outgoing_client(config: Settings) -> OutgoingClient:
    """Return the client for the URLs that tenants give, unconnected."""
    return OutgoingClient(UrlPolicy(config.webhook_allowed_networks, config.webhook_allow_http))


def mailer(config: Settings) -> Mailer | None:
    """Return the mailer of `SMTP_URL`, unconnected; None without one."""
    return Mailer(config.smtp_url, config.mail_from) if config.smtp_url else None


def _register_routes(app: Flask, config: Settings) -> None:
    requests.install(app, uses_https=config.public_base_url.startswith("https://"))
    idempotency.install(app)
    streams.install(app)
    api = openapi.Api(app)
    errors.install(app)
    admission.install(app, config)
    limits.install(app, limits.RateLimitConfig.from_settings(config))
    for module in feature_modules("routes"):
        api.register_blueprint(module.blp)
    if config.serves_relay:
        relay = import_module("vca.servers.relay")  # other processes do not need what it imports
        relay.install(
            app,
            count_refusal=limits.record_client_failure,
            reject_signature=carrier_webhooks.reject_invalid_signature,
            threads=config.relay_threads,
        )
    app.extensions["openapi"] = docs.ServedDocument(partial(openapi.build_document, app, api))
    guards.install(app, model_timeout_s=config.llm_timeout_s)
