"""Settings: read once from the environment and `.env`, checked, frozen."""

import base64
import os
import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from dotenv import dotenv_values

from vca.kit.addresses import Network, networks

ROOT = Path(__file__).resolve().parents[2]
PLACEHOLDER = "change-me"
_ROLE_PREFIX = re.compile(r"[a-z][a-z0-9_]{0,19}", re.ASCII)
_BUCKET = re.compile(r"//[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[A-Za-z0-9_./-]{0,200})?", re.ASCII)
_ADDRESS = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]+@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*", re.ASCII)
# How a server of mail is reached, and its usual port.
SMTP_PORTS = {"smtp": 25, "smtps": 465, "smtp+starttls": 587}
EX_CONFIG = 78  # sysexits.h: something was found in an unconfigured or misconfigured state


class SettingsError(SystemExit):
    """The process cannot start; prints one line for each setting that is missing or invalid."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__(EX_CONFIG)
        self.problems = problems

    def __str__(self) -> str:
        return "\n".join(f"VCA cannot start: {problem}" for problem in self.problems)


def _text(raw: str) -> str:
    return raw


def _choice(*options: str) -> Callable[[str], str]:
    def parse(raw: str) -> str:
        if raw not in options:
            raise ValueError(f"must be one of {', '.join(options)}")
        return raw

    return parse


def _flag(raw: str) -> bool:
    if raw.lower() not in ("true", "false"):
        raise ValueError("must be true or false")
    return raw.lower() == "true"


def _whole(low: int, high: int) -> Callable[[str], int]:
    def parse(raw: str) -> int:
        if not (raw.isascii() and raw.isdigit() and low <= int(raw[:12]) <= high):
            raise ValueError(f"must be a whole number from {low} to {high}")
        return int(raw)

    return parse


def _secret(raw: str) -> str:
    if len(raw) < 32 and PLACEHOLDER not in raw:
        raise ValueError("must be at least 32 characters of random text")
    return raw


def _secret_list(raw: str) -> tuple[str, ...]:
    return tuple(_secret(item.strip()) for item in raw.split(","))


def _name_list(raw: str) -> tuple[str, ...]:
    names = tuple(item.strip() for item in raw.split(","))
    if not all(0 < len(name) <= 100 for name in names):
        raise ValueError("must be names of up to 100 characters, separated by commas")
    return names


def _key_list(raw: str) -> tuple[bytes, ...]:
    try:
        keys = tuple(base64.b64decode(item.strip(), validate=True) for item in raw.split(","))
    except ValueError:
        raise ValueError("must be base64 keys of 32 bytes, separated by commas") from None
    if any(len(key) != 32 for key in keys):
        raise ValueError("must be base64 keys of 32 bytes, separated by commas")
    return keys


def _database(raw: str) -> str:
    scheme, _, rest = raw.partition(":")
    if scheme == "embedded" and rest:
        return raw
    if scheme in ("postgres", "postgresql", "postgresql+psycopg2") and rest.startswith("//"):
        return f"postgresql:{rest}"
    raise ValueError("must be a postgresql:// URL or embedded:<folder>")


def _role_prefix(raw: str) -> str:
    if not _ROLE_PREFIX.fullmatch(raw):
        raise ValueError("must be 1 to 20 of a-z, 0-9 and _, and begin with a letter")
    return raw


def _base_url(raw: str) -> str:
    parts = urlsplit(raw)
    if parts.scheme not in ("http", "https") or not parts.netloc or parts.query or parts.fragment:
        raise ValueError("must be an http(s) URL without query or fragment")
    return raw.rstrip("/")


def _store(raw: str) -> str:
    scheme, _, where = raw.partition(":")
    if scheme == "folder" and where:
        return raw
    if scheme == "s3" and _BUCKET.fullmatch(where):
        return raw
    raise ValueError("must be folder:<path> or s3://<bucket>, maybe with /<prefix>")


def _smtp_url(raw: str) -> str:
    parts = urlsplit(raw)  # a port out of range is a ValueError of its own
    usable = parts.hostname and (parts.port is None or parts.port > 0)
    if parts.scheme not in SMTP_PORTS or not usable or parts.path.strip("/") or parts.query:
        raise ValueError("must be an smtp://, smtps:// or smtp+starttls:// URL of a server")
    if (parts.username is None) != (parts.password is None):
        raise ValueError("needs user and password, or neither")
    if not unquote(raw).isascii():
        raise ValueError("must be ASCII: SMTP knows no other logins")
    return raw


def _address(raw: str) -> str:
    if not _ADDRESS.fullmatch(raw):
        raise ValueError("must be one e-mail address, as vca@example.com")
    return raw


def setting(parse: Callable[[str], Any], default: Any = MISSING) -> Any:
    """A field read from the environment variable of its name in capitals."""
    if default is MISSING:
        return field(metadata={"parse": parse})
    return field(default=default, metadata={"parse": parse})


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Every setting of the product; `.env.example` says what each is for."""

    database_url: str = setting(_database)
    migration_database_url: str = setting(_database, "")
    worker_database_url: str = setting(_database, "")
    tenancy_engine: str = setting(_choice("postgres", "citus"), "postgres")
    tenant_roles: str = setting(_choice("on", "off"), "")
    tenant_role_prefix: str = setting(_role_prefix, "vca_")
    app_env: str = setting(_choice("development", "staging", "production"))
    app_name: str = setting(_text)
    debug: bool = setting(_flag)
    secret_key: str = setting(_secret)
    api_key_peppers: tuple[str, ...] = setting(_secret_list, ())
    encryption_keys: tuple[bytes, ...] = setting(_key_list, ())
    public_base_url: str = setting(_base_url, "")
    host: str = setting(_text, "127.0.0.1")
    port: int = setting(_whole(1, 65535), 8000)
    web_workers: int = setting(_whole(1, 64), 2)
    web_threads: int = setting(_whole(1, 256), 8)
    database_pool_size: int = setting(_whole(1, 200), 10)
    tenants_per_connection: int = setting(_whole(1, 100_000), 200)
    did_claims: str = setting(_choice("assigned", "open"), "")
    telephony_provider: str = setting(_text, "")
    llm_base_url: str = setting(_base_url, "")
    llm_api_key: str = setting(_text, "")
    llm_model: str = setting(_text, "")
    llm_models: tuple[str, ...] = setting(_name_list, ())
    llm_fallback_model: str = setting(_text, "")
    llm_fallback_base_url: str = setting(_base_url, "")
    llm_fallback_api_key: str = setting(_text, "")
    llm_timeout_s: int = setting(_whole(1, 60), 10)
    call_token_limit: int = setting(_whole(0, 10_000_000), 0)
    call_silence_s: int = setting(_whole(1, 3600), 120)
    simulation_streams: int = setting(_whole(1, 64), 4)
    recording_store: str = setting(_store, "folder:.vca/recordings")
    s3_endpoint_url: str = setting(_base_url, "")
    s3_region: str = setting(_text, "")
    s3_presign: bool = setting(_flag, False)
    smtp_url: str = setting(_smtp_url, "")
    mail_from: str = setting(_address, "")
    webhook_allowed_networks: tuple[Network, ...] = setting(networks, ())
    webhook_allow_http: bool = setting(_flag, False)
    metrics_token: str = setting(_secret, "")
    metrics_dir: str = setting(_text, "")
    crash_dir: str = setting(_text, "")
    log_level: str = setting(_choice("debug", "info", "warning", "error"), "info")

    def __post_init__(self) -> None:
        problems = _contradictions(self)
        if problems:
            raise SettingsError(problems)

    @property
    def production(self) -> bool:
        return self.app_env == "production"

    @property
    def peppers(self) -> tuple[str, ...]:
        """What hashes API keys: the first writes, all read. Never the bare SECRET_KEY."""
        return self.api_key_peppers or (f"api-keys|{self.secret_key}",)

    @property
    def claims_are_open(self) -> bool:
        """Whether a tenant may claim a number that nobody assigned to it."""
        return (self.did_claims or ("assigned" if self.production else "open")) == "open"

    @property
    def models(self) -> tuple[str, ...]:
        """The models that a profile may name."""
        own = (self.llm_model,) if self.llm_model else ()
        return tuple(dict.fromkeys((*own, *self.llm_models)))

    @property
    def embedded_folder(self) -> Path | None:
        """The folder of the embedded Postgres, absolute; None with a server of one's own."""
        scheme, _, folder = self.database_url.partition(":")
        return (ROOT / folder).resolve() if scheme == "embedded" else None

    @property
    def state_folder(self) -> Path:
        """Where development keeps logs and the demo's keys: beside the embedded Postgres."""
        return self.embedded_folder.parent if self.embedded_folder else ROOT / ".vca"

    @property
    def metrics_folder(self) -> Path | None:
        """Where this machine's processes count together; None where nobody may ask them."""
        if not self.metrics_token:
            return None
        return (ROOT / self.metrics_dir) if self.metrics_dir else self.state_folder / "metrics"

    @property
    def crash_folder(self) -> Path | None:
        """Where a rehearsal says at which points this process dies; None: it is no rehearsal."""
        return ROOT / self.crash_dir if self.crash_dir else None

    @cached_property
    def database_dsn(self) -> str:
        """How the web process logs in: a libpq URL for psycopg2 and psycopg 3 alike."""
        return self._dsn(self.database_url, "web")

    @cached_property
    def worker_dsn(self) -> str:
        """How the worker logs in; as the web where it has no login of its own."""
        return self._dsn(self.worker_database_url or self.database_url, "worker")

    @cached_property
    def owner_dsn(self) -> str:
        """How commands that run DDL log in; as the web where there is no separate owner."""
        return self._dsn(self.migration_database_url or self.database_url, "owner")

    @property
    def on_citus(self) -> bool:
        """Whether the database is a Citus cluster, with a node for each tenant's schema."""
        return self.tenancy_engine == "citus"

    @property
    def role_prefix(self) -> str | None:
        """What the names of tenants' database roles begin with; None when there are no roles."""
        roles = self.tenant_roles or ("off" if self.on_citus else "on")
        return self.tenant_role_prefix if roles == "on" else None

    def _dsn(self, url: str, login: str) -> str:
        scheme, _, folder = url.partition(":")
        if scheme != "embedded":
            return url
        from vca.kit.embedded import server_for  # development only: not installed in production

        return server_for((ROOT / folder).resolve()).url_of(login)


def read_settings(environ: Mapping[str, str] | None = None) -> Settings:
    """The settings from `environ`, else from the process's environment over `.env`.

    Raises SettingsError naming every setting that is missing or invalid.
    """
    if environ is None:
        environ = {**_env_file(), **os.environ}
    values, problems = {}, []
    for spec in fields(Settings):
        name = spec.name.upper()
        raw = environ.get(name, "").strip()
        if not raw:
            if spec.default is MISSING:
                problems.append(f"{name} is missing")
            continue
        try:
            values[spec.name] = spec.metadata["parse"](raw)
        except ValueError as error:
            problems.append(f"{name} {error}")
    if problems:
        raise SettingsError(problems)
    return Settings(**values)


def settings_or_exit() -> Settings:
    """The process's settings; prints what is wrong and ends the process with status 78."""
    try:
        return read_settings()
    except SettingsError as error:
        raise told(error) from None


def told(error: SettingsError) -> SettingsError:
    """The error that will end the process, after it was written to stderr."""
    os.write(2, f"{error}\n".encode())
    return error


def hand_on(name: str, value: str) -> None:
    """Set a variable of the environment for a library that reads its settings there alone."""
    os.environ[name] = value


def write_env_file(target: Path, example: Path) -> bool:
    """Make `.env` from `.env.example` with fresh secrets, mode 0600; False if there is one."""
    try:
        handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return False
    lines = [_with_fresh_secret(line) for line in example.read_text().splitlines()]
    with os.fdopen(handle, "w") as file:
        file.write("\n".join(lines) + "\n")
    return True


def _with_fresh_secret(line: str) -> str:
    name, separator, value = line.partition("=")
    if not separator or not value.startswith(PLACEHOLDER):
        return line
    if name == "ENCRYPTION_KEYS":
        return f"{name}={base64.b64encode(secrets.token_bytes(32)).decode()}"
    return f"{name}={secrets.token_urlsafe(32)}"


def _env_file() -> dict[str, str]:
    return {name: value or "" for name, value in dotenv_values(ROOT / ".env").items()}


def _contradictions(settings: Settings) -> list[str]:
    """What no single setting shows: combinations that must not run."""
    llm = (settings.llm_base_url, settings.llm_api_key, settings.llm_model)
    problems = []
    if any(llm) and not all(llm):
        problems.append("LLM_BASE_URL, LLM_API_KEY and LLM_MODEL belong together: set all or none")
    problems += _fallback_contradictions(settings)
    if bool(settings.smtp_url) != bool(settings.mail_from):
        problems.append("SMTP_URL and MAIL_FROM belong together: set both or none")
    if settings.on_citus and settings.tenant_roles == "on":
        problems.append("TENANT_ROLES must be off on Citus: a node logs in as the tenant's role")
    if settings.on_citus and settings.embedded_folder is not None:
        problems.append("TENANCY_ENGINE is citus: the embedded Postgres has no Citus")
    if settings.production:
        problems += _unfit_for_production(settings)
    return problems


def _fallback_contradictions(settings: Settings) -> list[str]:
    endpoint = (settings.llm_fallback_base_url, settings.llm_fallback_api_key)
    problems = []
    if any(endpoint) and not all((*endpoint, settings.llm_fallback_model)):
        problems.append(
            "LLM_FALLBACK_BASE_URL and LLM_FALLBACK_API_KEY belong together, with a "
            "LLM_FALLBACK_MODEL"
        )
    if settings.llm_fallback_model and not settings.llm_model:
        problems.append("LLM_FALLBACK_MODEL needs LLM_MODEL: it answers when that does not")
    return problems


def _unfit_for_production(settings: Settings) -> list[str]:
    problems = []
    if settings.embedded_folder is not None:
        problems.append("DATABASE_URL is embedded: production needs a Postgres server of its own")
    if settings.debug:
        problems.append("DEBUG must be false in production")
    if PLACEHOLDER in settings.secret_key:
        problems.append("SECRET_KEY is the placeholder of .env.example")
    if not settings.api_key_peppers or PLACEHOLDER in settings.api_key_peppers[0]:
        problems.append("API_KEY_PEPPERS is missing: a new SECRET_KEY would void every API key")
    if settings.crash_dir:
        problems.append("CRASH_DIR is set: processes would kill themselves")
    if settings.telephony_provider == "fake":
        problems.append("TELEPHONY_PROVIDER is fake: it carries no real calls")
    if settings.telephony_provider and not settings.public_base_url.startswith("https://"):
        problems.append("PUBLIC_BASE_URL must be an https URL when a carrier is configured")
    return problems
