"""What may be imported where: the contracts, and the doors to network, environment and clock."""

import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.support.ast_index import ROOT, source_modules

HTTP = {
    "aiohttp",
    "h11",
    "http.client",
    "httpcore",
    "httpcore2",
    "httplib2",
    "httpx",
    "httpx2",
    "pycurl",
    "requests",
    "urllib.request",
    "urllib3",
}
# Every request that leaves goes through here: its deadline, its limits, no redirects.
HTTP_DOORS = (
    "vca/kit/http",
    "vca/conversation/llm/transport.py",
    "vca/conversation/llm/openai",
    "vca/telephony/providers/twilio/rest.py",  # under its SDK
    "vca/telephony/providers/telnyx/recordings.py",
)


def _imports(names: set[str]) -> Iterator[tuple[str, str]]:
    for module in source_modules():
        for imported, node in module.imports():
            if any(imported == name or imported.startswith(f"{name}.") for name in names):
                yield module.path, f"{module.location_of(node)} {imported}"


def test_the_contracts_of_pyproject_hold() -> None:
    lint = "from importlinter.cli import lint_imports as lint; exit(lint(no_cache=True))"
    run = subprocess.run(
        [sys.executable, "-c", lint], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert run.returncode == 0, run.stdout + run.stderr
    assert "0 broken" in run.stdout


def test_requests_leave_through_the_http_doors_only() -> None:
    found = list(_imports(HTTP))

    assert [place for path, place in found if not path.startswith(HTTP_DOORS)] == []
    assert found


def test_the_models_sdk_is_the_model_clients_alone() -> None:
    found = list(_imports({"openai"}))

    assert [place for path, place in found if not path.startswith("vca/conversation/llm/")] == []
    assert found


def test_a_carriers_sdk_is_its_own_adapters_and_comes_with_the_first_question(
    loaded_modules: frozenset[str],
) -> None:
    found = list(_imports({"twilio"}))

    assert [place for path, place in found if "/providers/twilio/" not in path] == []
    assert found
    assert "vca.telephony.providers.twilio.adapter" in loaded_modules
    assert loaded_modules.isdisjoint({"twilio", "telnyx", "requests"})


def test_the_environment_is_read_by_the_settings_only() -> None:
    reading = ("os.environ", "os.environb", "os.getenv", "os.getenvb")
    read = [
        (module.path, f"{module.location_of(node)} {name}")
        for module in source_modules()
        for name, node in [*module.names(), *module.imports()]
        if name in reading
    ]

    assert [place for path, place in read if path != "vca/settings.py"] == []
    assert read


@pytest.mark.parametrize("name", ["dotenv", "decouple", "environs"])
def test_no_other_reader_of_settings_is_used(name: str) -> None:
    assert [path for path, _ in _imports({name}) if path != "vca/settings.py"] == []


def test_the_wall_clock_is_read_in_one_place() -> None:
    clocks = (
        *(f"datetime.{name}" for name in ("now", "utcnow", "today")),
        *(f"datetime.datetime.{name}" for name in ("now", "utcnow", "today")),
        *("date.today", "datetime.date.today", "time.time", "time.time_ns", "time.localtime"),
    )
    read = [
        (module.path, f"{module.location_of(node)} {name}")
        for module in source_modules()
        for name, node in [*module.names(), *module.imports()]
        if name in clocks
    ]

    assert [place for path, place in read if path != "vca/kit/clock.py"] == []
    assert read


# Not HTTP of ours, or not HTTP: each has one door, which bounds every wait by itself.
@pytest.mark.parametrize(
    ("names", "door"),
    [
        ({"boto3", "botocore", "s3transfer"}, "vca/kit/storage/s3.py"),
        ({"smtplib"}, "vca/kit/mail.py"),
    ],
)
def test_the_bucket_and_the_mail_have_one_door_each(names: set[str], door: str) -> None:
    assert {path for path, _ in _imports(names)} == {door}
