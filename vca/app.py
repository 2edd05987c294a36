"""The composition root: connects all packages and contains no logic of its own."""

from collections.abc import Callable
from datetime import timedelta
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
from vca.audit import redaction
from vca.conversation.llm.models import Models, create_models
from vca.conversation.types import Limits
from vca.jobs import queue
from vca.kit import db, encryption, failpoints, http, mail, phone, storage
from vca.kit.db import Database
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
from vca.registry.tenants import lifecycle_hooks
from vca.registry.tenants import routes as tenants
from vca.registry.tenants import service as tenant_service
from vca.registry.usage import routes as all_usage
from vca.registry.webhooks import routes as operator_webhooks
from vca.settings import ROOT, Settings, SettingsError, settings_or_exit
from vca.telephony import providers
from vca.telephony.providers import ADAPTERS, Carriers
from vca.tenancy import citus
from vca.tenant import encrypted_columns
from vca.tenant.ai_profiles import extract_schema, profile_check
from vca.tenant.ai_profiles import routes as ai_profiles
from vca.tenant.ai_profiles import service as ai_profile_service
from vca.tenant.ai_profiles import versions as profile_versions
from vca.tenant.audit import routes as audit
from vca.tenant.calls import routes as calls
from vca.tenant.calls.core import (
    account_usage,
    analysis_state,
    call_services,
    live_usage,
    named_versions,
    outbound_legs,
    watchdog,
)
from vca.tenant.calls.core.call_services import CallServices
from vca.tenant.calls.simulation import silent_callee
from vca.tenant.messages import imported_mail
from vca.tenant.messages import routes as messages
from vca.tenant.models import metadata as tenant_tables
from vca.tenant.phone_numbers import number_samples, ownership, provider_compatibility, webrtc
from vca.tenant.phone_numbers import routes as phone_numbers
from vca.tenant.privacy import erasure_ledger
from vca.tenant.privacy import routes as privacy
from vca.tenant.recordings import retention
from vca.tenant.recordings import routes as recordings
from vca.tenant.settings import limits as limits_of_tenants
from vca.tenant.settings import routes as settings
from vca.tenant.settings import service as settings_service
from vca.tenant.telephony_accounts import routes as telephony_accounts
from vca.tenant.telephony_accounts import service as accounts
from vca.tenant.usage import cap, rebuild
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
    db.observe_pool_wait(POOL_WAIT_SECONDS.observe)
    db.observe_failures(
        observe_busy=lambda sqlstate: DATABASE_TIMEOUTS.inc(sqlstate=sqlstate),
        observe_outage=lambda reason: DATABASE_OUTAGES.inc(reason=reason),
    )
    _configure_services(app, config)
    _register_routes(app)
    for path in TASKS:
        import_module(path)
    queue.set_admission_check(tenant_service.require_supported_schema)
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
        MODEL_SUPPORTS_TOOLS=_model_supports_tools,
        PROVIDE_AUTOMATIC_OPTIONS=False,
        PROPAGATE_EXCEPTIONS=False,
        API_TITLE=f"{config.app_name} API",
        API_VERSION="1",
        OPENAPI_VERSION=openapi.VERSION,
    )
    app.extensions["settings"] = config


def _configure_services(app: Flask, config: Settings) -> None:
    """Give the process its database, carriers, models, storage and mail. Nothing connects yet."""
    db.set_current_database(
        Database(
            config.database_dsn,
            pool_size=config.database_pool_size,
            tenants_per_connection=config.tenants_per_connection,
            tenant_tables=tenant_tables.tables,
        )
    )
    failpoints.set_failpoint_folder(config.crash_folder)
    deployment.set_roles_from_settings(config)
    citus.set_enabled(config.on_citus)
    carriers = providers.set_current_carriers(Carriers(config))
    carriers.simulator.callee = silent_callee.answer_call
    if carriers.default and carriers.adapter(carriers.default) is None:
        carrier_names = ", ".join(ADAPTERS)
        raise SettingsError(
            [
                f"TELEPHONY_PROVIDER is {carriers.default}, "
                f"but no such carrier is configured (known: {carrier_names})"
            ]
        )
    encryption.set_current_keyring(encryption.Keyring(config.keys_at_rest))
    redaction.set_hash_key(config.peppers[0])
    recorder.install_listeners()
    erasure_ledger.set_peppers(config.peppers)
    http.set_current_client(outgoing_client(config))
    storage.set_current_store(recording_store(config))
    mail.set_current_mailer(mailer(config))
    call_services.set_current_services(
        CallServices(
            config.secret_key,
            _create_models(config),
            config.public_base_url,
            Limits(config.call_token_limit or None),
            config.production,
            config.relay_slots,
            fallback_folder=config.carrier_fallback_folder,
        )
    )
    _connect_features(config)


def _connect_features(config: Settings) -> None:
    """Register functions of higher packages with lower ones, and set up single features."""
    lifecycle_hooks.set_current_hooks(
        lifecycle_hooks.TenantLifecycleHooks(
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
    )
    phone.set_diallable_ranges(config.diallable_prefixes)
    settings_service.set_number_lister(number_samples.list_all)
    ai_profile_service.set_answered_number_lister(number_samples.list_answered)
    cap.set_live_call_counter(live_usage.live_usage)
    profile_versions.set_named_version_finder(named_versions.is_named)
    webrtc.set_permission_check(outbound_legs.check_browser_calls)
    profile_check.set_current_check(provider_compatibility.check_numbers_of_profile)
    accounts.set_account_use_finder(account_usage.describe_account_usage)
    watchdog.set_silence_limit(timedelta(seconds=config.call_silence_s))
    limits_of_tenants.set_simulated_tokens_per_day(config.simulated_tokens_per_day)
    watchdog.set_simulation_idle_limit(timedelta(seconds=config.simulation_idle_s))


def _model_supports_tools(model: str | None) -> bool:
    return call_services.current_services().models.supports_tools(model)


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
    base_url: str = app.extensions["settings"].public_base_url
    requests.install(app, uses_https=base_url.startswith("https://"))
    idempotency.install(app)
    streams.install(app)
    api = openapi.Api(app)
    errors.install(app)
    admission.install(app, app.extensions["settings"])
    limits.install(app, limits.RateLimitConfig.from_settings(app.extensions["settings"]))
    for blueprint in FEATURES:
        api.register_blueprint(blueprint)
    if app.extensions["settings"].serves_relay:
        relay = import_module("vca.servers.relay")  # other processes do not need what it imports
        relay.install(
            app,
            count_refusal=limits.record_client_failure,
            reject_signature=carrier_webhooks.reject_invalid_signature,
            threads=app.extensions["settings"].relay_threads,
        )
    app.extensions["openapi"] = docs.ServedDocument(partial(openapi.build_document, app, api))
    guards.install(app, model_timeout_s=app.extensions["settings"].llm_timeout_s)
