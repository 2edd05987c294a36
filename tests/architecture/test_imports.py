"""Import contracts, and the modules that may use the network, the environment and the clock."""

import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.support.ast_index import ROOT, source_modules

HTTP_LIBRARIES = {
    "aiohttp",
    "h11",
    "http.client",
    "httpcore",
    "httpcore2",
    "httplib2",
    "httptools",
    "httpx",
    "httpx2",
    "pycurl",
    "requests",
    "urllib.request",
    "urllib3",
}
# Only these modules send HTTP requests. They set deadlines and limits, and follow no redirects.
HTTP_CLIENTS = (
    "vca/kit/http",
    "vca/conversation/llm/transport",
    "vca/conversation/llm/openai",
    "vca/telephony/providers/twilio/rest.py",  # under its SDK
    "vca/telephony/providers/telnyx/recordings.py",
)


def _imports(names: set[str]) -> Iterator[tuple[str, str]]:
    for module in source_modules():
        for imported_name, node in module.imports():
            if any(imported_name == name or imported_name.startswith(f"{name}.") for name in names):
                yield module.path, f"{module.location_of(node)} {imported_name}"


def test_the_import_contracts_of_pyproject_hold() -> None:
    code = "from importlinter.cli import lint_imports as lint; exit(lint(no_cache=True))"
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert result.returncode == 0, result.stdout + result.stderr
    assert "0 broken" in result.stdout


def test_only_the_http_clients_import_http_libraries() -> None:
    imports = list(_imports(HTTP_LIBRARIES))

    assert [location for path, location in imports if not path.startswith(HTTP_CLIENTS)] == []
    assert imports


def test_only_the_model_clients_import_the_sdk_of_the_models() -> None:
    imports = list(_imports({"openai"}))

    assert [
        location for path, location in imports if not path.startswith("vca/conversation/llm/")
    ] == []
    assert imports


def test_only_an_adapter_imports_its_carriers_sdk_and_loads_it_on_first_use(
    loaded_modules: frozenset[str],
) -> None:
    imports = list(_imports({"twilio"}))

    assert [location for path, location in imports if "/providers/twilio/" not in path] == []
    assert imports
    assert "vca.telephony.providers.twilio.adapter" in loaded_modules
    assert loaded_modules.isdisjoint({"twilio", "telnyx", "requests"})


def test_only_the_settings_read_the_environment() -> None:
    environment_names = ("os.environ", "os.environb", "os.getenv", "os.getenvb")
    uses = [
        (module.path, f"{module.location_of(node)} {name}")
        for module in source_modules()
        for name, node in [*module.names(), *module.imports()]
        if name in environment_names
    ]

    assert [location for path, location in uses if path != "vca/settings.py"] == []
    assert uses


@pytest.mark.parametrize("name", ["dotenv", "decouple", "environs"])
def test_only_the_settings_import_a_library_for_settings(name: str) -> None:
    assert [path for path, _ in _imports({name}) if path != "vca/settings.py"] == []


def test_only_the_clock_module_reads_the_wall_clock() -> None:
    clock_functions = (
        *(f"datetime.{name}" for name in ("now", "utcnow", "today")),
        *(f"datetime.datetime.{name}" for name in ("now", "utcnow", "today")),
        *("date.today", "datetime.date.today", "time.time", "time.time_ns", "time.localtime"),
    )
    uses = [
        (module.path, f"{module.location_of(node)} {name}")
        for module in source_modules()
        for name, node in [*module.names(), *module.imports()]
        if name in clock_functions
    ]

    assert [location for path, location in uses if path != "vca/kit/clock.py"] == []
    assert uses


# Each of these libraries is imported by one module, which sets its timeouts.
@pytest.mark.parametrize(
    ("names", "path"),
    [
        ({"boto3", "botocore", "s3transfer"}, "vca/kit/storage/s3.py"),
        ({"smtplib"}, "vca/kit/mail.py"),
    ],
)
def test_one_module_imports_the_library_for_s3_and_one_that_for_mail(
    names: set[str], path: str
) -> None:
    assert {importing_path for importing_path, _ in _imports(names)} == {path}
