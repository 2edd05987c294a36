"""Headers that protect people whose browser opens a page of VCA."""

import pytest
from flask import Flask

from vca.api import requests


@pytest.mark.parametrize(("uses_https", "value"), [(True, "max-age=31536000"), (False, None)])
def test_a_deployment_with_https_instructs_browsers_to_use_nothing_else(
    uses_https: bool, value: str | None
) -> None:
    app = Flask(__name__)
    requests.install(app, uses_https=uses_https)

    response = app.test_client().get("/nothing-here")

    assert response.headers.get("Strict-Transport-Security") == value


def test_the_documentation_page_allows_no_inline_styles_or_scripts(app: Flask) -> None:
    policy = app.test_client().get("/docs").headers["Content-Security-Policy"]

    assert "unsafe" not in policy
    assert "style-src 'self';" in policy
