"""The settings of the app decide whether browsers are instructed to use https."""

from flask import Flask


def test_a_base_url_with_https_instructs_browsers_to_use_nothing_else(bare_app: Flask) -> None:
    assert bare_app.config["PUBLIC_BASE_URL"].startswith("https://")
    assert "Strict-Transport-Security" in bare_app.config["SECURITY_HEADERS"]
