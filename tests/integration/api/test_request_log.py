"""The log line of a request."""

import pytest
from structlog.testing import capture_logs

from tests.support.api import Api


@pytest.mark.parametrize(
    ("path", "logged_path"),
    [
        ("/telephony/telnyx/relay/v1.token-of-a-call", "/telephony/telnyx/relay/…"),
        ("/telephony/telnyx/relay/v1.token/more", "/telephony/telnyx/relay/…"),
        ("/telephony/telnyx/relay", "/telephony/telnyx/relay"),
        ("/livez", "/livez"),
    ],
)
def test_the_path_of_a_voice_websocket_is_logged_without_its_token(
    anonymous: Api, path: str, logged_path: str
) -> None:
    with capture_logs() as entries:
        anonymous.send("GET", path)

    [logged] = [entry["path"] for entry in entries if entry["event"] == "request"]
    assert logged == logged_path
