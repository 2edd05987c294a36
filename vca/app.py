"""The composition root: connects all packages and contains no logic of its own."""

from collections.abc import Callable
from functools import partial
from importlib import import_module
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
    health,
    idempotency,
    limits,
    metrics,
    openapi,
    requests,
    streams,
)
from vca.conversation.llm.models import Models, create_models
from vca.conversation.types import Limits
from vca.kit import db, failpoints, phone, storage
from vca.kit.encryption import Keyring
from vca.kit.http import OutgoingClient, UrlPolicy
from vca.kit.mail import Mailer
from vca.kit.storage import Store
from vca.kit.web.json_provider import OrjsonProvider
from vca.observability import log
from vca.observability.metrics import DATABASE_OUTAGES, DATABASE_TIMEOUTS, POOL_WAIT_SECONDS
from vca.registry import deployment
from vca.registry.api_keys import routes as api_keys
from vca.registry.audit import recorder
from vca.registry.audit import routes as platform_audit
from vca.registry.number_registry import routes as dids
from vca.registry.tenants import routes as tenants
from vca.registry.usage import routes as all_usage
from vca.registry.webhooks import routes as operator_webhooks
from vca.services import EXTENSION, FeatureCallbacks, Services
from vca.settings import ROOT, Settings, SettingsError, settings_or_exit
from vca.telephony.providers import ADAPTERS, Carriers
from vca.tenancy.database import TenantDatabase
from vca.tenancy.lifecycle_hooks import TenantLifecycleHooks
from vca.tenant import encrypted_columns
from vca.tenant.ai_profiles import extract_schema
from vca.tenant.ai_profiles import routes as ai_profiles
from vca.tenant.audit import routes as audit
from vca.tenant.calls import routes as calls
from vca.tenant.calls.core import (
    account_usage,
    analysis_state,
    live_usage,
    named_versions,
    outbound_legs,
)
from vca.tenant.calls.simulation import silent_callee
from vca.tenant.messages import imported_mail
from vca.tenant.messages import routes as messages
from vca.tenant.models import metadata as tenant_tables
from vca.tenant.phone_numbers import number_samples, ownership, provider_compatibility
from vca.tenant.phone_numbers import routes as phone_numbers
from vca.tenant.privacy import routes as privacy
from vca.tenant.recordings import retention
from vca.tenant.recordings import routes as recordings
from vca.tenant.settings import routes as settings
from vca.tenant.telephony_accounts import routes as telephony_accounts
from vca.tenant.usage import rebuild
from vca.tenant.usage import routes as usage
from vca.tenant.webhooks import imported_copy
from vca.tenant.webhooks import routes as webhooks

# The blueprints of all operations. Each view declares its own access.
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
    carrier_webhooks.blp,
)
LIFECYCLE_HOOKS = TenantLifecycleHooks(
    deactivate_unowned_numbers=ownership.deactivate_unowned_numbers,
    find_orphaned_numbers=ownership.find_orphaned_numbers,
    delete_files=retention.delete_files,
    re_encrypt=encrypted_columns.re_encrypt_tenant,
    mute_webhooks=imported_copy.mute_webhooks,
    remove_unusable_schemas=extract_schema.remove_unusable_schemas,
    resume_mail=imported_mail.resume_mail,
    rebuild_usage=rebuild.rebuild_usage,
    resume_analyses=analysis_state.resume_analyses,
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
    "dids": "vca.registry.number_registry.commands:dids",
    "api-keys": "vca.registry.api_keys.commands:api_keys",
    "dialling": "vca.tenant.calls.dialling_commands:dialling",
    "calls": "vca.tenant.calls.commands:calls",
    "telephony": "vca.tenant.calls.carrier_commands:telephony",
    "models": "vca.tenant.calls.model_commands:models",
    "secrets": "vca.tenant.key_rotation.commands:secrets",
    "usage": "vca.tenant.usage.commands:usage",
    "privacy": "vca.tenant.privacy.commands:privacy",
    "telnyx": "vca.telephony.providers.telnyx.commands:telnyx",
    "jobs": "vca.registry.job_lanes.commands:jobs",
    "worker": "vca.servers.worker:worker",
    "demo": "vca.devtools.demo_data:demo",
    "up": "vca.devtools.dev_server:up",
}


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
    services = app.extensions[EXTENSION] = create_services(config)
    _set_flask_config(app, services)
    db.observe_pool_wait(POOL_WAIT_SECONDS.observe)
    db.observe_failures(
        observe_busy=lambda sqlstate: DATABASE_TIMEOUTS.inc(sqlstate=sqlstate),
        observe_outage=lambda reason: DATABASE_OUTAGES.inc(reason=reason),
    )
    failpoints.set_failpoint_folder(config.crash_folder)
    recorder.install_listeners()
    phone.set_diallable_ranges(config.diallable_prefixes)
    _register_routes(app)
    for path in TASKS:
        import_module(path)
    app.cli = cli.Commands(COMMANDS)
    return app


def _set_flask_config(app: Flask, services: Services) -> None:
    config = services.settings
    app.config.update(
        APP_NAME=config.app_name,
        SECRET_KEY=config.secret_key,
        PEPPERS=config.peppers,
        METRICS_TOKEN=config.metrics_token,
        PUBLIC_BASE_URL=config.public_base_url,
        CLAIMS_ARE_OPEN=config.claims_are_open,
        MODELS=config.models,
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
        ),
        keyring=Keyring(config.keys_at_rest),
        store=recording_store(config),
        mailer=mailer(config),
        http_client=outgoing_client(config),
        carriers=_create_carriers(config),
        models=_create_models(config),
        limits=Limits(config.call_token_limit or None),
        lifecycle_hooks=LIFECYCLE_HOOKS,
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


def _register_routes(app: Flask) -> None:
    base_url: str = app.extensions[EXTENSION].settings.public_base_url
    requests.install(app, uses_https=base_url.startswith("https://"))
    idempotency.install(app)
    streams.install(app)
    api = openapi.Api(app)
    errors.install(app)
    admission.install(app, app.extensions[EXTENSION].settings)
    limits.install(app, limits.RateLimitConfig.from_settings(app.extensions[EXTENSION].settings))
    for blueprint in FEATURES:
        api.register_blueprint(blueprint)
    if app.extensions[EXTENSION].settings.serves_relay:
        relay = import_module("vca.servers.relay")  # other processes do not need what it imports
        relay.install(
            app,
            count_refusal=limits.record_client_failure,
            reject_signature=carrier_webhooks.reject_invalid_signature,
            threads=app.extensions[EXTENSION].settings.relay_threads,
        )
    app.extensions["openapi"] = docs.render_openapi(openapi.build_document(app, api))
    guards.install(app, model_timeout_s=app.extensions[EXTENSION].settings.llm_timeout_s)
