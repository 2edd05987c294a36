"""Settings are parsed and checked together."""

import base64
from collections.abc import Mapping
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest

from tests.integration.settings.settings_environments import (
    ENCRYPTION_KEY,
    INVALID,
    LONG_SECRET,
    PRODUCTION,
    REQUIRED,
    VALID,
)
from vca.settings import Settings, SettingsError, read_settings

# Parts of the rules that contain an invalid value of these tests.
RULE_EXAMPLES = (
    "production",
    "embedded:<folder>",
    "10.0.0.0/8, separated by commas",
    ", separated by commas",
    "+1924=US",
)


def _problems(environment: Mapping[str, str]) -> list[str]:
    with pytest.raises(SettingsError) as raised:
        read_settings(environment)
    return raised.value.problems


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg2"])
def test_every_scheme_of_a_postgres_url_gives_the_same_dsn(scheme: str) -> None:
    environment = {
        **VALID,
        "DATABASE_URL": f"{scheme}://vca:pass@db.example.com:5433/vca?sslmode=require",
    }

    assert (
        read_settings(environment).database_dsn
        == "postgresql://vca:pass@db.example.com:5433/vca?sslmode=require"
    )


def test_the_environment_overrides_the_env_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [f"{name}={value}" for name, value in VALID.items()]
    (tmp_path / ".env").write_text("\n".join([*lines, "WEB_THREADS=3", "PORT=8001"]))
    monkeypatch.setattr("vca.settings.ROOT", tmp_path)
    for name in Settings.__dataclass_fields__:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("PORT", "8002")

    settings = read_settings()

    assert (settings.web_threads, settings.port, settings.app_name) == (3, 8002, "VCA")


def test_valid_settings_are_parsed_and_immutable() -> None:
    settings = read_settings(VALID)

    assert (settings.debug, settings.port, settings.production) == (False, 8000, False)
    with pytest.raises(FrozenInstanceError):
        settings.debug = True  # type: ignore[misc]


@pytest.mark.parametrize("name", REQUIRED)
@pytest.mark.parametrize("blank_value", ["", "   "])
def test_a_required_setting_has_no_default(name: str, blank_value: str) -> None:
    incomplete_settings = {key: value for key, value in VALID.items() if key != name}

    assert _problems(incomplete_settings) == [f"{name} is missing"]
    assert _problems({**VALID, name: blank_value}) == [f"{name} is missing"]


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
        ("API_KEY_PEPPERS", f"{LONG_SECRET},short"),
        ("API_KEY_PEPPERS", f"{LONG_SECRET},"),
        ("ENCRYPTION_KEYS", "not base64!"),
        ("ENCRYPTION_KEYS", base64.b64encode(bytes(16)).decode()),
        ("ENCRYPTION_KEYS", f"{ENCRYPTION_KEY},"),
        ("PUBLIC_BASE_URL", "voice.example.com"),
        ("PUBLIC_BASE_URL", "ftp://voice.example.com"),
        ("PUBLIC_BASE_URL", "https://"),
        ("PUBLIC_BASE_URL", "https://voice.example.com/?a=b"),
        ("PUBLIC_BASE_URL", "https://voice.example.com/#a"),
        ("DID_CLAIMS", "anyone"),
        ("DIALLABLE_PREFIXES", "1924=US"),
        ("DIALLABLE_PREFIXES", "+1837=CA,"),
        ("DIALLABLE_PREFIXES", "a-secret"),
        ("LOG_LEVEL", "verbose"),
        ("LLM_TIMEOUT_S", "61"),
        ("LLM_FIRST_TOKEN_S", "61"),
        ("LLM_FIRST_TOKEN_S", "soon"),
        ("LLM_FIRST_TOKEN_S", "4,qwen3"),
        ("LLM_FIRST_TOKEN_S", "4,qwen3="),
        ("LLM_FIRST_TOKEN_S", "4,=20"),
        ("LLM_FIRST_TOKEN_S", "qwen3=20"),
        ("LLM_API_KEY", "“sk-4711”"),
        ("LLM_API_KEY", "sk 4711"),
        ("LLM_BASE_URL", "https://models.example.com/v1/chat/completions"),
        ("LLM_BASE_URL", "https://models.example.com/v1/chat/completions/"),
        ("LLM_FALLBACK_API_KEY", "sk-4711”"),
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
def test_the_error_of_an_invalid_value_states_the_rule_and_not_the_value(
    name: str, value: str
) -> None:
    [problem] = _problems({**VALID, name: value})

    assert problem.startswith(f"{name} must be ")
    assert len(problem) < 200
    for example in RULE_EXAMPLES:
        problem = problem.replace(example, "")
    for rejected_text in (value, LONG_SECRET, ENCRYPTION_KEY):
        assert rejected_text not in problem


def test_all_invalid_settings_are_reported_together() -> None:
    environment = {**VALID, "APP_NAME": "", "PORT": "x", "LOG_LEVEL": "x"}

    assert [problem.split()[0] for problem in _problems(environment)] == [
        "APP_NAME",
        "PORT",
        "LOG_LEVEL",
    ]


@pytest.mark.parametrize(
    "environment",
    [
        {"LLM_BASE_URL": "https://example.com/v1"},
        {"LLM_API_KEY": "k", "LLM_MODEL": "m"},
    ],
)
def test_incomplete_settings_of_a_model_are_rejected(environment: dict[str, str]) -> None:
    [problem] = _problems({**VALID, **environment})

    assert "LLM_BASE_URL, LLM_API_KEY and LLM_MODEL" in problem


LLM = {"LLM_BASE_URL": "https://example.com/v1", "LLM_API_KEY": "k", "LLM_MODEL": "m"}
FALLBACK = {
    "LLM_FALLBACK_BASE_URL": "https://example.org/v1",
    "LLM_FALLBACK_API_KEY": "f",
    "LLM_FALLBACK_MODEL": "other",
}


@pytest.mark.parametrize("missing_name", FALLBACK)
def test_a_fallback_model_needs_both_endpoint_and_key_or_neither(missing_name: str) -> None:
    incomplete_fallback = {name: value for name, value in FALLBACK.items() if name != missing_name}

    [problem] = _problems({**VALID, **LLM, **incomplete_fallback})

    assert "LLM_FALLBACK_BASE_URL and LLM_FALLBACK_API_KEY belong together" in problem
    assert read_settings({**VALID, **LLM, **FALLBACK}).llm_fallback_model == "other"
    assert read_settings({**VALID, **LLM, "LLM_FALLBACK_MODEL": "other"}).llm_fallback_model


def test_the_wait_for_the_first_words_can_be_set_for_each_model() -> None:
    environment = {**VALID, "LLM_TIMEOUT_S": "30", "LLM_FIRST_TOKEN_S": "5, qwen3:8b=20,a=b=7"}

    first_token_s = read_settings(environment).llm_first_token_s

    assert first_token_s.default_s == 5
    assert dict(first_token_s.by_name) == {"qwen3:8b": 20, "a=b": 7}
    assert read_settings(VALID).llm_first_token_s.default_s == 4


@pytest.mark.parametrize("value", ["11", "4,qwen3:8b=20"])
def test_the_wait_for_the_first_words_is_part_of_the_time_for_the_answer(value: str) -> None:
    [problem] = _problems({**VALID, "LLM_FIRST_TOKEN_S": value})

    assert problem.startswith("LLM_FIRST_TOKEN_S is ")
    assert "LLM_TIMEOUT_S" in problem
    assert read_settings({**VALID, "LLM_FIRST_TOKEN_S": value, "LLM_TIMEOUT_S": "20"})


def test_the_slots_of_each_lane_can_be_set_and_others_keep_their_default() -> None:
    assert dict(read_settings(VALID).worker_lanes) == {"calls": 4, "deliveries": 64, "batch": 2}

    worker_lanes = read_settings({**VALID, "WORKER_LANES": "batch:1, calls: 512"}).worker_lanes

    assert dict(worker_lanes) == {"calls": 512, "deliveries": 64, "batch": 1}


def test_every_fault_of_the_lanes_is_in_one_error() -> None:
    value = "calls:0,mail:3,batch,batch:2,batch:2,deliveries:x,deliveries:-1,deliveries:513,"

    with pytest.raises(SettingsError) as error_info:
        read_settings({**VALID, "WORKER_LANES": value})

    [problem] = error_info.value.problems
    assert error_info.value.code == 78
    assert problem == (
        "WORKER_LANES is invalid: 'calls:0' must be an integer from 1 to 512;"
        " 'mail:3' has a name other than calls, deliveries, batch;"
        " 'batch' is not a pair name:number;"
        " 'batch:2' repeats a name;"
        " 'deliveries:x' must be an integer from 1 to 512;"
        " 'deliveries:-1' must be an integer from 1 to 512;"
        " 'deliveries:513' must be an integer from 1 to 512;"
        " '' is not a pair name:number"
    )


def test_a_fallback_model_requires_a_first_model() -> None:
    [problem] = _problems({**VALID, **FALLBACK})

    assert problem.startswith("LLM_FALLBACK_MODEL requires LLM_MODEL")


def test_profiles_may_use_the_deployments_model_and_the_listed_models() -> None:
    llm_models = {"LLM_MODELS": "n, m ,o"}

    assert read_settings(VALID).models == ()
    assert read_settings({**VALID, **LLM}).models == ("m",)
    assert read_settings({**VALID, **LLM, **llm_models}).models == ("m", "n", "o")
    assert read_settings({**VALID, **llm_models}).models == ("n", "m", "o")


def test_the_order_of_a_list_is_preserved() -> None:
    settings = read_settings({**VALID, "API_KEY_PEPPERS": f"{LONG_SECRET}-new , {LONG_SECRET}-old"})

    assert settings.peppers == (f"{LONG_SECRET}-new", f"{LONG_SECRET}-old")


def test_the_default_pepper_is_derived_from_the_secret_and_differs_from_it() -> None:
    [pepper] = read_settings(VALID).peppers

    assert pepper != LONG_SECRET
    assert LONG_SECRET in pepper


@pytest.mark.parametrize(
    ("environment", "prefix"),
    [
        ({}, "vca_"),
        ({"TENANT_ROLES": "on", "TENANT_ROLE_PREFIX": "blue_"}, "blue_"),
        ({"TENANT_ROLES": "off"}, None),
    ],
)
def test_tenant_roles_are_on_by_default(environment: dict[str, str], prefix: str | None) -> None:
    assert read_settings({**VALID, **environment}).role_prefix == prefix


@pytest.mark.parametrize(
    ("environment", "setting"),
    [
        ({"TENANT_ROLES": "on"}, "TENANT_ROLES"),
        ({"DATABASE_URL": "embedded:.vca/postgres"}, "TENANCY_ENGINE"),
    ],
)
def test_citus_rejects_settings_that_it_does_not_support(
    environment: dict[str, str], setting: str
) -> None:
    [_, problem] = _problems({**VALID, "TENANCY_ENGINE": "citus", **environment})

    assert problem.startswith(f"{setting} ")


def test_citus_is_rejected_as_unsupported() -> None:
    problems = _problems({**VALID, "TENANCY_ENGINE": "citus"})

    assert problems == ["TENANCY_ENGINE is citus, which is not supported yet: use postgres"]


@pytest.mark.parametrize(
    ("environment", "claims_are_open"),
    [
        (VALID, True),
        (PRODUCTION, False),
        ({**VALID, "DID_CLAIMS": "assigned"}, False),
        ({**PRODUCTION, "DID_CLAIMS": "open"}, True),
    ],
)
def test_in_production_tenants_claim_only_assigned_numbers_by_default(
    environment: dict[str, str], claims_are_open: bool
) -> None:
    assert read_settings(environment).claims_are_open is claims_are_open


@pytest.mark.parametrize(
    ("environment", "setting"),
    [
        ({"DATABASE_URL": "embedded:.vca/postgres"}, "DATABASE_URL"),
        ({"DEBUG": "true"}, "DEBUG"),
        ({"SECRET_KEY": "change-me"}, "SECRET_KEY"),
        ({"API_KEY_PEPPERS": ""}, "API_KEY_PEPPERS"),
        ({"API_KEY_PEPPERS": "change-me"}, "API_KEY_PEPPERS"),
        ({"API_KEY_PEPPERS": f"change-me, {LONG_SECRET}-pepper"}, "API_KEY_PEPPERS"),
        ({"API_KEY_PEPPERS": LONG_SECRET}, "API_KEY_PEPPERS"),
        ({"API_KEY_PEPPERS": f"{LONG_SECRET}-pepper, {LONG_SECRET}"}, "API_KEY_PEPPERS"),
        ({"TELEPHONY_PROVIDER": "twilio"}, "PUBLIC_BASE_URL"),
        (
            {"TELEPHONY_PROVIDER": "twilio", "PUBLIC_BASE_URL": "http://voice.example.com"},
            "PUBLIC_BASE_URL",
        ),
    ],
)
def test_production_rejects_each_development_setting(
    environment: dict[str, str], setting: str
) -> None:
    assert read_settings(PRODUCTION).production

    [problem] = _problems({**PRODUCTION, **environment})

    assert problem.startswith(f"{setting} ")


def test_staging_allows_development_settings() -> None:
    environment = {**VALID, "APP_ENV": "staging", "TELEPHONY_PROVIDER": "fake", "DEBUG": "true"}

    assert not read_settings(environment).production


def test_a_trailing_slash_of_the_public_base_url_is_removed() -> None:
    environment = {**VALID, "PUBLIC_BASE_URL": "https://voice.example.com/vca/"}

    assert read_settings(environment).public_base_url == "https://voice.example.com/vca"


def test_added_number_ranges_are_parsed() -> None:
    settings = read_settings({**VALID, "DIALLABLE_PREFIXES": "+1924=US, +1837=CA"})

    assert [str(added) for added in settings.diallable_prefixes] == ["+1924=US", "+1837=CA"]
    assert read_settings(VALID).diallable_prefixes == ()


def test_every_unusable_number_range_is_named() -> None:
    [problem] = _problems({**VALID, "DIALLABLE_PREFIXES": "+1924=US,+1900=US,+1876=US"})

    assert problem == (
        "DIALLABLE_PREFIXES must be entries such as +1924=US, separated by commas: +1900=US "
        "includes premium-rate numbers that libphonenumber knows; +1876=US includes numbers of JM "
        "that libphonenumber knows"
    )
