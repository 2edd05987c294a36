"""Settings: read once, checked as a whole, and a process that cannot have them does not start."""

import base64
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import FrozenInstanceError, dataclass
from pathlib import Path

import pytest

from tests.support.ast_index import ROOT
from tests.support.fork_server import ForkedProcess, current_fork_server
from vca.settings import EX_CONFIG, Settings, SettingsError, read_settings

BIN = Path(sys.executable).parent
KEY = base64.b64encode(bytes(32)).decode()
LONG = "a-secret-of-this-test-alone-and-no-other"
REQUIRED = ("DATABASE_URL", "APP_ENV", "APP_NAME", "DEBUG", "SECRET_KEY")
GOOD = {
    "DATABASE_URL": "postgresql://nobody@127.0.0.1:1/nowhere",
    "APP_ENV": "development",
    "APP_NAME": "VCA",
    "DEBUG": "false",
    "SECRET_KEY": LONG,
}
PRODUCTION = {
    **GOOD,
    "APP_ENV": "production",
    "API_KEY_PEPPERS": f"{LONG}-pepper",
    "ENCRYPTION_KEYS": KEY,
}
INVALID = {
    "DATABASE_URL": "mysql://localhost/vca",
    "APP_ENV": "prod",
    "DEBUG": "maybe",
    "SECRET_KEY": "short",
}
COMMANDS = {
    "gunicorn": [str(BIN / "gunicorn"), "wsgi:app"],
    "flask": [str(BIN / "flask"), "tenants", "list"],
}


@dataclass(frozen=True)
class Run:
    """A process that writes to two files below `place`."""

    process: "subprocess.Popen[bytes] | ForkedProcess"
    place: Path

    def end(self) -> tuple[int, str, str]:
        """Exit status, standard output, standard error."""
        try:
            status = self.process.wait(20)
        finally:
            self.process.kill()
            self.process.wait()
        return status, (self.place / "out").read_text(), (self.place / "err").read_text()


def _start(command: str, given: Mapping[str, str], place: Path, *, executed: bool = False) -> Run:
    """A process of its own, whose imports are done already unless it is `executed`.

    An empty value hides what a `.env` in the repository may hold.
    """
    hidden = dict.fromkeys((name.upper() for name in Settings.__dataclass_fields__), "")
    environ = {"PATH": os.environ["PATH"], **hidden, **given}
    words = COMMANDS[command]
    place.mkdir(exist_ok=True)
    with (place / "out").open("wb") as out, (place / "err").open("wb") as err:
        if executed:
            return Run(
                subprocess.Popen(words, cwd=ROOT, env=environ, stdout=out, stderr=err), place
            )
        return Run(
            current_fork_server().start(words, environ, out.fileno(), errors=err.fileno()), place
        )


def _problems(given: Mapping[str, str]) -> list[str]:
    with pytest.raises(SettingsError) as raised:
        read_settings(given)
    return raised.value.problems


# --- Processes -------------------------------------------------------------------------------


def test_each_missing_setting_ends_the_server_and_is_named_alone(tmp_path: Path) -> None:
    processes = {name: _start("gunicorn", {**GOOD, name: ""}, tmp_path / name) for name in REQUIRED}

    for name, process in processes.items():
        status, _, err = process.end()
        assert status == EX_CONFIG, name
        assert err == f"VCA cannot start: {name} is missing\n"


@pytest.mark.parametrize("command", COMMANDS)
def test_what_is_missing_or_invalid_ends_a_process_with_a_line_for_each(
    command: str, tmp_path: Path
) -> None:
    status, out, err = _start(command, INVALID, tmp_path, executed=True).end()

    assert (status, out) == (EX_CONFIG, "")
    told = {line.split()[3]: line for line in err.splitlines()}
    assert list(told) == list(REQUIRED)
    assert told.pop("APP_NAME") == "VCA cannot start: APP_NAME is missing"
    for name, line in told.items():
        assert line.startswith(f"VCA cannot start: {name} must be ")
    assert INVALID["SECRET_KEY"] not in err


@pytest.mark.parametrize("command", COMMANDS)
def test_production_refuses_what_is_for_development(command: str, tmp_path: Path) -> None:
    unfit = {
        "DATABASE_URL": "embedded:.vca/postgres",
        "DEBUG": "true",
        "SECRET_KEY": "change-me-and-be-at-least-32-characters",
        "API_KEY_PEPPERS": "change-me",
        "TELEPHONY_PROVIDER": "fake",
        "CRASH_DIR": "armed",
    }

    status, _, err = _start(command, {**PRODUCTION, **unfit}, tmp_path).end()

    assert status == EX_CONFIG
    for name in (*unfit, "PUBLIC_BASE_URL"):
        assert f"VCA cannot start: {name} " in err
    assert len(err.splitlines()) == len(unfit) + 1


def test_a_process_connects_by_a_url_that_begins_with_postgres(
    database_url: str, tmp_path: Path
) -> None:
    url = database_url.replace("postgresql://", "postgres://")

    status, out, err = _start("flask", {**GOOD, "DATABASE_URL": url}, tmp_path).end()

    assert (status, err) == (0, "")
    assert out


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg2"])
def test_every_spelling_of_a_postgres_url_means_the_same(scheme: str) -> None:
    given = {**GOOD, "DATABASE_URL": f"{scheme}://vca:pass@db.example.com:5433/vca?sslmode=require"}

    assert (
        read_settings(given).database_dsn
        == "postgresql://vca:pass@db.example.com:5433/vca?sslmode=require"
    )


def test_the_environment_wins_over_the_env_file_and_the_file_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [f"{name}={value}" for name, value in GOOD.items()]
    (tmp_path / ".env").write_text("\n".join([*lines, "WEB_THREADS=3", "PORT=8001"]))
    monkeypatch.setattr("vca.settings.ROOT", tmp_path)
    for name in Settings.__dataclass_fields__:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("PORT", "8002")

    settings = read_settings()

    assert (settings.web_threads, settings.port, settings.app_name) == (3, 8002, "VCA")


# --- Values ----------------------------------------------------------------------------------


def test_good_settings_are_read_and_frozen() -> None:
    settings = read_settings(GOOD)

    assert (settings.debug, settings.port, settings.production) == (False, 8000, False)
    with pytest.raises(FrozenInstanceError):
        settings.debug = True  # type: ignore[misc]


@pytest.mark.parametrize("name", REQUIRED)
@pytest.mark.parametrize("nothing", ["", "   "])
def test_a_required_setting_has_no_fallback(name: str, nothing: str) -> None:
    without = {key: value for key, value in GOOD.items() if key != name}

    assert _problems(without) == [f"{name} is missing"]
    assert _problems({**GOOD, name: nothing}) == [f"{name} is missing"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *INVALID.items(),
        ("DATABASE_URL", "postgresql:localhost/vca"),
        ("DATABASE_URL", "embedded:"),
        ("DATABASE_URL", "sqlite:///x.db"),
        ("APP_ENV", "Production"),
        ("DEBUG", "1"),
        ("DEBUG", "yes"),
        ("PORT", "0"),
        ("PORT", "65536"),
        ("PORT", "8000.0"),
        ("PORT", "-1"),
        ("PORT", "٨٠٠٠"),
        ("PORT", "9" * 5_000),
        ("WEB_WORKERS", "0"),
        ("DATABASE_POOL_SIZE", "many"),
        ("API_KEY_PEPPERS", f"{LONG},short"),
        ("API_KEY_PEPPERS", f"{LONG},"),
        ("ENCRYPTION_KEYS", "not base64!"),
        ("ENCRYPTION_KEYS", base64.b64encode(bytes(16)).decode()),
        ("ENCRYPTION_KEYS", f"{KEY},"),
        ("PUBLIC_BASE_URL", "voice.example.com"),
        ("PUBLIC_BASE_URL", "ftp://voice.example.com"),
        ("PUBLIC_BASE_URL", "https://"),
        ("PUBLIC_BASE_URL", "https://voice.example.com/?a=b"),
        ("PUBLIC_BASE_URL", "https://voice.example.com/#a"),
        ("DID_CLAIMS", "anyone"),
        ("LOG_LEVEL", "verbose"),
        ("LLM_TIMEOUT_S", "61"),
        ("LLM_MODELS", "a,,b"),
        ("LLM_MODELS", ","),
        ("LLM_MODELS", "x" * 101),
        ("LLM_FALLBACK_BASE_URL", "example.com"),
        ("WEBHOOK_ALLOWED_NETWORKS", "10.0.0.1/8"),
        ("WEBHOOK_ALLOWED_NETWORKS", "10.0.0.0/8,"),
        ("WEBHOOK_ALLOWED_NETWORKS", "0.0.0.0/0"),
        ("WEBHOOK_ALLOWED_NETWORKS", "crm.example.com"),
        ("WEBHOOK_ALLOW_HTTP", "1"),
    ],
)
def test_an_invalid_value_is_named_with_its_rule_and_is_not_repeated(name: str, value: str) -> None:
    [problem] = _problems({**GOOD, name: value})

    assert problem.startswith(f"{name} must be ")
    assert len(problem) < 200


def test_all_that_is_wrong_is_told_at_once() -> None:
    given = {**GOOD, "APP_NAME": "", "PORT": "x", "LOG_LEVEL": "x"}

    assert [problem.split()[0] for problem in _problems(given)] == ["APP_NAME", "PORT", "LOG_LEVEL"]


@pytest.mark.parametrize(
    "given",
    [
        {"LLM_BASE_URL": "https://example.com/v1"},
        {"LLM_API_KEY": "k", "LLM_MODEL": "m"},
    ],
)
def test_a_part_of_the_models_settings_is_refused(given: dict[str, str]) -> None:
    [problem] = _problems({**GOOD, **given})

    assert "LLM_BASE_URL, LLM_API_KEY and LLM_MODEL" in problem


LLM = {"LLM_BASE_URL": "https://example.com/v1", "LLM_API_KEY": "k", "LLM_MODEL": "m"}
FALLBACK = {
    "LLM_FALLBACK_BASE_URL": "https://example.org/v1",
    "LLM_FALLBACK_API_KEY": "f",
    "LLM_FALLBACK_MODEL": "other",
}


@pytest.mark.parametrize("left_out", FALLBACK)
def test_a_fallback_model_has_its_own_endpoint_and_key_or_neither(left_out: str) -> None:
    part = {name: value for name, value in FALLBACK.items() if name != left_out}

    [problem] = _problems({**GOOD, **LLM, **part})

    assert "LLM_FALLBACK_BASE_URL and LLM_FALLBACK_API_KEY belong together" in problem
    assert read_settings({**GOOD, **LLM, **FALLBACK}).llm_fallback_model == "other"
    assert read_settings({**GOOD, **LLM, "LLM_FALLBACK_MODEL": "other"}).llm_fallback_model


def test_a_fallback_model_needs_one_that_it_steps_in_for() -> None:
    [problem] = _problems({**GOOD, **FALLBACK})

    assert problem.startswith("LLM_FALLBACK_MODEL requires LLM_MODEL")


def test_the_models_that_profiles_may_name_are_the_list_and_the_deployments_own() -> None:
    listed = {"LLM_MODELS": "n, m ,o"}

    assert read_settings(GOOD).models == ()
    assert read_settings({**GOOD, **LLM}).models == ("m",)
    assert read_settings({**GOOD, **LLM, **listed}).models == ("m", "n", "o")
    assert read_settings({**GOOD, **listed}).models == ("n", "m", "o")


def test_lists_keep_their_order_the_first_writes() -> None:
    settings = read_settings({**GOOD, "API_KEY_PEPPERS": f"{LONG}-new , {LONG}-old"})

    assert settings.peppers == (f"{LONG}-new", f"{LONG}-old")


def test_keys_are_never_hashed_with_the_bare_secret() -> None:
    [pepper] = read_settings(GOOD).peppers

    assert pepper != LONG
    assert LONG in pepper


@pytest.mark.parametrize(
    ("given", "prefix"),
    [
        ({}, "vca_"),
        ({"TENANT_ROLES": "on", "TENANT_ROLE_PREFIX": "blue_"}, "blue_"),
        ({"TENANT_ROLES": "off"}, None),
    ],
)
def test_tenants_have_roles_unless_they_are_off(given: dict[str, str], prefix: str | None) -> None:
    assert read_settings({**GOOD, **given}).role_prefix == prefix


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"TENANT_ROLES": "on"}, "TENANT_ROLES"),
        ({"DATABASE_URL": "embedded:.vca/postgres"}, "TENANCY_ENGINE"),
    ],
)
def test_citus_refuses_what_it_cannot_have(given: dict[str, str], named: str) -> None:
    [_, problem] = _problems({**GOOD, "TENANCY_ENGINE": "citus", **given})

    assert problem.startswith(f"{named} ")


def test_citus_is_refused_in_one_sentence_until_it_works() -> None:
    problems = _problems({**GOOD, "TENANCY_ENGINE": "citus"})

    assert problems == ["TENANCY_ENGINE is citus, which is not supported yet: use postgres"]


@pytest.mark.parametrize(
    ("given", "claims_are_open"),
    [
        (GOOD, True),
        (PRODUCTION, False),
        ({**GOOD, "DID_CLAIMS": "assigned"}, False),
        ({**PRODUCTION, "DID_CLAIMS": "open"}, True),
    ],
)
def test_production_lets_tenants_claim_only_what_is_assigned_to_them(
    given: dict[str, str], claims_are_open: bool
) -> None:
    assert read_settings(given).claims_are_open is claims_are_open


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"DATABASE_URL": "embedded:.vca/postgres"}, "DATABASE_URL"),
        ({"DEBUG": "true"}, "DEBUG"),
        ({"SECRET_KEY": "change-me"}, "SECRET_KEY"),
        ({"API_KEY_PEPPERS": ""}, "API_KEY_PEPPERS"),
        ({"API_KEY_PEPPERS": "change-me"}, "API_KEY_PEPPERS"),
        ({"API_KEY_PEPPERS": f"change-me, {LONG}"}, "API_KEY_PEPPERS"),
        ({"TELEPHONY_PROVIDER": "twilio"}, "PUBLIC_BASE_URL"),
        (
            {"TELEPHONY_PROVIDER": "twilio", "PUBLIC_BASE_URL": "http://voice.example.com"},
            "PUBLIC_BASE_URL",
        ),
    ],
)
def test_production_refuses_each_thing_that_is_for_development(
    given: dict[str, str], named: str
) -> None:
    assert read_settings(PRODUCTION).production

    [problem] = _problems({**PRODUCTION, **given})

    assert problem.startswith(f"{named} ")


def test_staging_may_do_what_development_may() -> None:
    given = {**GOOD, "APP_ENV": "staging", "TELEPHONY_PROVIDER": "fake", "DEBUG": "true"}

    assert not read_settings(given).production


def test_a_trailing_slash_of_the_public_address_is_dropped() -> None:
    given = {**GOOD, "PUBLIC_BASE_URL": "https://voice.example.com/vca/"}

    assert read_settings(given).public_base_url == "https://voice.example.com/vca"
