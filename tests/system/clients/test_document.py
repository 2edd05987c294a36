"""The OpenAPI document is valid for the current release of openapi-spec-validator."""

from pathlib import Path

from tests.support import openapi_tools

# The Rust backend reads every `pattern` as ECMA-262. The default backend uses Python's `re`, which
# accepts `\A` and `\Z`.
_BACKEND = {"OPENAPI_SPEC_VALIDATOR_SCHEMA_VALIDATOR_BACKEND": "jsonschema-rs"}


def _validate(path: Path) -> tuple[int, str]:
    """Return the validator's exit status and its report."""
    result = openapi_tools.run_python(
        ["-m", "openapi_spec_validator", "--validation-errors", "all", str(path)],
        environ=_BACKEND,
    )
    return result.returncode, result.stdout + result.stderr


def test_the_served_document_is_valid(document_path: Path) -> None:
    status, report = _validate(document_path)

    assert status == 0, report


def test_the_validator_rejects_a_pattern_that_only_python_reads(document_path: Path) -> None:
    text = document_path.read_text()
    invalid = text.replace(r'"pattern":"^\\+[1-9][0-9]{6,14}$"', r'"pattern":"\\A\\+[1-9]\\Z"')
    assert invalid != text
    document_path.write_text(invalid)

    status, report = _validate(document_path)

    assert status != 0
    assert r"\\A\\+[1-9]\\Z" in report
