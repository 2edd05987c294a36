"""Settings: read once from the environment and `.env`, validated, frozen."""

import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from functools import cached_property
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from dotenv import dotenv_values

from vca.kit import parsers
from vca.kit.addresses import Network, parse_networks
from vca.kit.number_ranges import NumberRange, parse_ranges
from vca.kit.parsers import PLACEHOLDER
from vca.thread_shares import ThreadShares

ROOT = Path(__file__).resolve().parents[1]
# Settings of earlier releases, and what to do about them.
REMOVED = {
    "SIMULATION_STREAMS": "CALLING_OUT_THREADS limits everything that waits for another system"
}
EX_CONFIG = 78  # sysexits.h: something was found in an unconfigured or misconfigured state
# The lanes of jobs, with the default number of jobs that a worker runs at the same time in each.
JOB_LANES = (("calls", 4), ("deliveries", 64), ("batch", 2))
_MAX_SLOTS = 512


class SettingsError(SystemExit):
    """The process cannot start; prints one line for each missing or invalid setting."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__(EX_CONFIG)
        self.problems = problems

    def __str__(self) -> str:
        return "\n".join(f"VCA cannot start: {problem}" for problem in self.problems)


def setting(parse: Callable[[str], Any], default: Any = MISSING) -> Any:
    """Declare a field that is read from the environment variable of the same name in upper case."""
    if default is MISSING:
        return field(metadata={"parse": parse})
    return field(default=default, metadata={"parse": parse})


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Every setting of the product; `.env.example` describes each of them."""

    database_url: str = setting(parsers.database_url)
    migration_database_url: str = setting(parsers.database_url, "")
    worker_database_url: str = setting(parsers.database_url, "")
    tenancy_engine: str = setting(parsers.enum("postgres", "citus"), "postgres")
    tenant_roles: str = setting(parsers.enum("on", "off"), "")
    tenant_role_prefix: str = setting(parsers.role_prefix, "vca_")
    app_env: str = setting(parsers.enum("development", "staging", "production"))
    app_name: str = setting(parsers.string)
    debug: bool = setting(parsers.boolean)
    secret_key: str = setting(parsers.secret)
    api_key_peppers: tuple[str, ...] = setting(parsers.secret_list, ())
    encryption_keys: tuple[bytes, ...] = setting(parsers.key_list, ())
    public_base_url: str = setting(parsers.base_url, "")
    host: str = setting(parsers.string, "127.0.0.1")
    port: int = setting(parsers.integer(1, 65535), 8000)
    web_workers: int = setting(parsers.integer(1, 64), 2)
    web_threads: int = setting(parsers.integer(1, 256), 8)
    reserved_threads: int = setting(parsers.integer(0, 255), 2)
    calling_out_threads: int = setting(parsers.integer(1, 256), 8)
    calling_out_per_tenant: int = setting(parsers.integer(1, 256), 4)
    trusted_proxies: tuple[Network, ...] = setting(parse_networks, ())
    relay_slots: int = setting(parsers.integer(0, 4096), 0)
    relay_port: int = setting(parsers.integer(1, 65535), 8001)
    relay_workers: int = setting(parsers.integer(1, 64), 2)
    relay_threads: int = setting(parsers.integer(1, 256), 128)
    gunicorn_group: str = setting(parsers.enum("web", "relay"), "web")
    rate_limit_key: int = setting(parsers.integer(0, 100_000), 50)
    rate_limit_tenant: int = setting(parsers.integer(0, 100_000), 100)
    rate_limit_platform_key: int = setting(parsers.integer(0, 100_000), 500)
    rate_limit_window_s: int = setting(parsers.integer(1, 3600), 5)
    rate_limit_failures: int = setting(parsers.integer(0, 1_000_000), 20)
    rate_limit_threads: int = setting(parsers.integer(0, 256), 8)
    database_pool_size: int = setting(parsers.integer(1, 200), 20)
    tenants_per_connection: int = setting(parsers.integer(1, 100_000), 130)
    worker_lanes: tuple[tuple[str, int], ...] = setting(
        parsers.counts_by_name(JOB_LANES, _MAX_SLOTS), JOB_LANES
    )
    did_claims: str = setting(parsers.enum("assigned", "open"), "")
    diallable_prefixes: tuple[NumberRange, ...] = setting(parse_ranges, ())
    telephony_provider: str = setting(parsers.string, "")
    twilio_account_sid: str = setting(parsers.regex("AC[0-9a-f]{32}", "an Account SID: AC…"), "")
    twilio_auth_token: tuple[str, ...] = setting(
        parsers.csv(parsers.regex("[0-9a-f]{32}", "32 hexadecimal digits, several with commas")), ()
    )
    twilio_api_key_sid: str = setting(parsers.regex("SK[0-9a-f]{32}", "an API key's SID: SK…"), "")
    twilio_api_key_secret: str = setting(parsers.regex("[!-~]{16,128}", "an API key's secret"), "")
    twilio_api_base_url: str = setting(parsers.base_url, "")
    telnyx_api_key: str = setting(parsers.string, "")
    telnyx_public_key: str = setting(parsers.public_key, "")
    telnyx_connection_id: str = setting(parsers.string, "")
    telnyx_credential_connection_id: str = setting(parsers.string, "")
    telnyx_call_parking: str = setting(parsers.enum("on", "off"), "off")
    telnyx_api_base_url: str = setting(parsers.base_url, "")
    carrier_fallback_url: str = setting(parsers.base_url, "")
    carrier_fallback_folder: str = setting(parsers.string, "")
    llm_base_url: str = setting(parsers.model_base_url, "")
    llm_api_key: str = setting(parsers.model_api_key, "")
    llm_model: str = setting(parsers.string, "")
    llm_models: tuple[str, ...] = setting(parsers.name_list, ())
    llm_fallback_model: str = setting(parsers.string, "")
    llm_fallback_base_url: str = setting(parsers.model_base_url, "")
    llm_fallback_api_key: str = setting(parsers.model_api_key, "")
    llm_timeout_s: int = setting(parsers.integer(1, 60), 10)
    llm_first_token_s: parsers.SecondsByName = setting(  # noqa: RUF009 - it declares a field
        parsers.seconds_by_name(1, 60), parsers.SecondsByName(4)
    )
    call_token_limit: int = setting(parsers.integer(0, 10_000_000), 0)
    call_silence_s: int = setting(parsers.integer(1, 3600), 120)
    simulated_tokens_per_day: int = setting(parsers.integer(0, 1_000_000_000), 200_000)
    simulation_idle_s: int = setting(parsers.integer(1, 86_400), 300)
    recording_store: str = setting(parsers.store_url, "folder:.vca/recordings")
    s3_endpoint_url: str = setting(parsers.base_url, "")
    s3_region: str = setting(parsers.string, "")
    s3_presign: bool = setting(parsers.boolean, False)
    smtp_url: str = setting(parsers.smtp_url, "")
    mail_from: str = setting(parsers.email_address, "")
    webhook_allowed_networks: tuple[Network, ...] = setting(parse_networks, ())
    webhook_allow_http: bool = setting(parsers.boolean, False)
    metrics_token: str = setting(parsers.secret, "")
    metrics_dir: str = setting(parsers.string, "")
    crash_dir: str = setting(parsers.string, "")
    log_level: str = setting(parsers.enum("debug", "info", "warning", "error"), "info")

    def __post_init__(self) -> None:
        problems = _cross_field_errors(self)
        if problems:
            raise SettingsError(problems)

    @property
    def production(self) -> bool:
        """Whether APP_ENV is production."""
        return self.app_env == "production"

    @property
    def peppers(self) -> tuple[str, ...]:
        """The keys that hash API keys: the first hashes, all verify. Never the bare SECRET_KEY."""
        return self.api_key_peppers or (f"api-keys|{self.secret_key}",)

    @property
    def keys_at_rest(self) -> tuple[bytes, ...]:
        """The keys that encrypt secrets in the database: the first encrypts, all decrypt."""
        derived_key = hashlib.sha256(f"at-rest|{self.secret_key}".encode()).digest()
        return self.encryption_keys or (derived_key,)

    @property
    def claims_are_open(self) -> bool:
        """Whether a tenant may claim a number that was not assigned to it."""
        return (self.did_claims or ("assigned" if self.production else "open")) == "open"

    @property
    def models(self) -> tuple[str, ...]:
        """The language models that an AI profile may name."""
        default_model = (self.llm_model,) if self.llm_model else ()
        return tuple(dict.fromkeys((*default_model, *self.llm_models)))

    @property
    def thread_shares(self) -> ThreadShares:
        """How the threads of a web process are shared."""
        return ThreadShares(
            working=self.web_threads,
            reserved=self.reserved_threads,
            rejections=self.rate_limit_threads,
            calling_out=self.calling_out_threads,
            calling_out_per_tenant=self.calling_out_per_tenant,
        )

    @property
    def serves_relay(self) -> bool:
        """Whether this process belongs to the server group for voice WebSockets."""
        return self.gunicorn_group == "relay"

    @property
    def embedded_folder(self) -> Path | None:
        """The absolute folder of the embedded Postgres, or None if another server is used."""
        scheme, _, folder = self.database_url.partition(":")
        return (ROOT / folder).resolve() if scheme == "embedded" else None

    @property
    def state_folder(self) -> Path:
        """The development folder for logs and demo keys: the parent of the embedded Postgres."""
        return self.embedded_folder.parent if self.embedded_folder else ROOT / ".vca"

    @property
    def metrics_folder(self) -> Path | None:
        """The folder in which this machine's processes count; None if metrics are disabled."""
        if not self.metrics_token:
            return None
        return (ROOT / self.metrics_dir) if self.metrics_dir else self.state_folder / "metrics"

    @property
    def crash_folder(self) -> Path | None:
        """The folder of armed failpoints; None outside of chaos tests."""
        return ROOT / self.crash_dir if self.crash_dir else None

    @cached_property
    def database_dsn(self) -> str:
        """The libpq URL of the web login, for psycopg2 and psycopg 3."""
        return self._dsn(self.database_url, "web")

    @cached_property
    def worker_dsn(self) -> str:
        """The libpq URL of the worker login; that of the web if it has no login of its own."""
        return self._dsn(self.worker_database_url or self.database_url, "worker")

    @cached_property
    def owner_dsn(self) -> str:
        """The libpq URL of the login for DDL; that of the web if there is no separate owner."""
        return self._dsn(self.migration_database_url or self.database_url, "owner")

    @property
    def on_citus(self) -> bool:
        """Whether the database is a Citus cluster, which places each tenant's schema on a node."""
        return self.tenancy_engine == "citus"

    @property
    def role_prefix(self) -> str | None:
        """The prefix of the tenants' database roles, or None without roles."""
        roles = self.tenant_roles or ("off" if self.on_citus else "on")
        return self.tenant_role_prefix if roles == "on" else None

    def _dsn(self, url: str, login: str) -> str:
        scheme, _, folder = url.partition(":")
        if scheme != "embedded":
            return url
        # By name: development only, and no package below it may import it.
        server_for = resolve_name("vca.devtools.embedded_postgres:server_for")
        url_of_login: str = server_for((ROOT / folder).resolve()).url_of(login)
        return url_of_login


def read_settings(environ: Mapping[str, str] | None = None) -> Settings:
    """Read the settings from `environ`, or from the process environment on top of `.env`.

    Raises SettingsError with every missing or invalid setting.
    """
    if environ is None:
        environ = {**_read_env_file(), **os.environ}
        _warn_of_removed(environ)
    parsed, problems = {}, []
    for spec in fields(Settings):
        name = spec.name.upper()
        raw = environ.get(name, "").strip()
        if not raw:
            if spec.default is MISSING:
                problems.append(f"{name} is missing")
            continue
        try:
            parsed[spec.name] = spec.metadata["parse"](raw)
        except ValueError as error:
            problems.append(f"{name} {error}")
    if problems:
        raise SettingsError(problems)
    return Settings(**parsed)


def _warn_of_removed(environ: Mapping[str, str]) -> None:
    """Write a line to stderr for each setting that has no effect any more."""
    for name, advice in REMOVED.items():
        if environ.get(name, "").strip():
            os.write(2, f"VCA ignores {name}: {advice}.\n".encode())


def settings_or_exit() -> Settings:
    """Return the settings; print what is wrong and exit with status 78 if they are invalid."""
    try:
        return read_settings()
    except SettingsError as error:
        raise report_settings_error(error) from None


def report_settings_error(error: SettingsError) -> SettingsError:
    """Write the error to stderr and return it, so that the caller can raise it to exit."""
    os.write(2, f"{error}\n".encode())
    return error


def export_env(name: str, value: str) -> None:
    """Set an environment variable for a library that reads its settings from nowhere else."""
    os.environ[name] = value


def _read_env_file() -> dict[str, str]:
    return {name: value or "" for name, value in dotenv_values(ROOT / ".env").items()}


def _cross_field_errors(settings: Settings) -> list[str]:
    """Return the invalid combinations of settings that are valid one by one."""
    llm = (settings.llm_base_url, settings.llm_api_key, settings.llm_model)
    problems = []
    if any(llm) and not all(llm):
        problems.append("LLM_BASE_URL, LLM_API_KEY and LLM_MODEL belong together: set all or none")
    problems += _fallback_model_errors(settings)
    if settings.llm_first_token_s.longest_s > settings.llm_timeout_s:
        problems.append(
            f"LLM_FIRST_TOKEN_S is {settings.llm_first_token_s.longest_s}, but LLM_TIMEOUT_S, "
            f"which limits the whole answer, is only {settings.llm_timeout_s}"
        )
    problems += _twilio_errors(settings)
    problems += _relay_errors(settings)
    problems += settings.thread_shares.errors()
    if bool(settings.telnyx_api_key) != bool(settings.telnyx_public_key):
        problems.append("TELNYX_API_KEY and TELNYX_PUBLIC_KEY belong together: set both or none")
    if bool(settings.smtp_url) != bool(settings.mail_from):
        problems.append("SMTP_URL and MAIL_FROM belong together: set both or none")
    if settings.on_citus:
        problems.append("TENANCY_ENGINE is citus, which is not supported yet: use postgres")
    if settings.on_citus and settings.tenant_roles == "on":
        problems.append("TENANT_ROLES must be off on Citus: nodes log in as the tenant's role")
    if settings.on_citus and settings.embedded_folder is not None:
        problems.append("TENANCY_ENGINE is citus, which the embedded Postgres does not support")
    if settings.production:
        problems += _production_errors(settings)
    return problems


def _fallback_model_errors(settings: Settings) -> list[str]:
    endpoint = (settings.llm_fallback_base_url, settings.llm_fallback_api_key)
    problems = []
    if any(endpoint) and not all((*endpoint, settings.llm_fallback_model)):
        problems.append(
            "LLM_FALLBACK_BASE_URL and LLM_FALLBACK_API_KEY belong together, with a "
            "LLM_FALLBACK_MODEL"
        )
    if settings.llm_fallback_model and not settings.llm_model:
        problems.append("LLM_FALLBACK_MODEL requires LLM_MODEL, which it replaces when that fails")
    return problems


def _relay_errors(settings: Settings) -> list[str]:
    threads = settings.relay_workers * settings.relay_threads
    problems = []
    if settings.relay_slots > threads:
        problems.append(
            f"RELAY_SLOTS is {settings.relay_slots}, but RELAY_WORKERS x RELAY_THREADS is only "
            f"{threads}: each call over a voice WebSocket occupies a thread"
        )
    if settings.serves_relay and not settings.relay_slots:
        problems.append(
            "GUNICORN_GROUP is relay, which requires RELAY_SLOTS, the limit of concurrent calls"
        )
    return problems


def _twilio_errors(settings: Settings) -> list[str]:
    account = (settings.twilio_account_sid, settings.twilio_auth_token)
    key = (settings.twilio_api_key_sid, settings.twilio_api_key_secret)
    problems = []
    if any(account) and not all(account):
        problems.append(
            "TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN belong together: set both or none"
        )
    if any(key) and not all((*key, *account)):
        problems.append(
            "TWILIO_API_KEY_SID and TWILIO_API_KEY_SECRET belong together, with an account"
        )
    return problems


def _production_errors(settings: Settings) -> list[str]:
    problems = []
    if settings.embedded_folder is not None:
        problems.append("DATABASE_URL is embedded: production requires a separate Postgres server")
    if settings.debug:
        problems.append("DEBUG must be false in production")
    if PLACEHOLDER in settings.secret_key:
        problems.append("SECRET_KEY is the placeholder of .env.example")
    if not settings.api_key_peppers or PLACEHOLDER in settings.api_key_peppers[0]:
        problems.append(
            "API_KEY_PEPPERS is missing: a new SECRET_KEY would invalidate all API keys"
        )
    if settings.secret_key in settings.api_key_peppers:
        problems.append(
            "API_KEY_PEPPERS contains SECRET_KEY, but each secret needs a value of its own"
        )
    if not settings.encryption_keys:
        problems.append(
            "ENCRYPTION_KEYS is missing: a new SECRET_KEY would make secrets unreadable"
        )
    if settings.crash_dir:
        problems.append("CRASH_DIR must not be set in production: processes would kill themselves")
    if settings.telephony_provider == "fake":
        problems.append("TELEPHONY_PROVIDER is fake, which cannot handle real calls")
    carriers = (settings.telephony_provider, settings.twilio_account_sid, settings.telnyx_api_key)
    if any(carriers) and not settings.public_base_url.startswith("https://"):
        problems.append("PUBLIC_BASE_URL must be an https URL when a carrier is configured")
    return problems
