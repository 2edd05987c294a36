"""An adapter that is connected to a fake Twilio with an account."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tests.contract.suites.telephony import CALLBACK, NUMBER
from tests.fakes.carriers.twilio.account import TwilioAccount
from tests.fakes.carriers.twilio.server import TwilioServer, twilio_server
from vca.settings import Settings
from vca.telephony.providers.twilio.adapter import TwilioAdapter
from vca.telephony.providers.twilio.callback_urls import CallbackUrls
from vca.telephony.providers.twilio.settings import (
    ApiKey,
    RestTimeouts,
    TwilioCredentials,
    TwilioUrls,
)
from vca.telephony.state_signature import StateSigner

ACCOUNT_LOGIN = TwilioCredentials(f"AC{1:032x}", f"{1:032x}")
OTHER_LOGIN = TwilioCredentials(f"AC{2:032x}", f"{2:032x}")
API_KEY = ApiKey(f"SK{1:032x}", "the-secret-of-an-api-key-of-acme")
FALLBACK = "https://fallback.example.com/twilio/"
# The secret of the test suite's app, so that both sign states alike.
SECRET_KEY = "a-secret-of-the-test-suite-and-no-other"
STATE_SIGNER = StateSigner(SECRET_KEY)
# If a response comes, only the pause between retries matters. If none comes, all timeouts matter.
SHORT_RETRY_PAUSE = RestTimeouts(retry_pause_s=0.01)
SHORT_TIMEOUTS = RestTimeouts(total_s=3, response_s=0.2, retry_pause_s=0.01)


@dataclass
class ConnectedTwilio:
    """Both ends of the API: the fake server with its account, and the adapter."""

    server: TwilioServer
    account: TwilioAccount
    adapter: TwilioAdapter

    def new_adapter(
        self, login: TwilioCredentials = ACCOUNT_LOGIN, **options: Any
    ) -> TwilioAdapter:
        """Return another adapter of this Twilio. The caller must close it."""
        callback_urls = TwilioUrls(CALLBACK, FALLBACK, self.server.url)
        defaults = {"timeouts": SHORT_RETRY_PAUSE, "state_signer": STATE_SIGNER}
        return TwilioAdapter((login,), callback_urls, **{**defaults, **options})

    def requests_to(self, method: str, path: str) -> list[dict[str, list[str]]]:
        """Return the forms or queries of requests whose path has this ending."""
        return [
            request.fields
            for request in self.account.requests
            if request.method == method and request.path.endswith(f"/{path}")
        ]


def deployment_settings(api_base_url: str = "") -> Settings:
    """Return the settings of a deployment with this account, at Twilio or at a fake server."""
    return Settings(
        database_url="postgresql://localhost/nowhere",
        app_env="development",
        app_name="VCA",
        debug=False,
        secret_key=SECRET_KEY,
        public_base_url="https://voice.example.com/vca",
        twilio_account_sid=ACCOUNT_LOGIN.account_sid,
        twilio_auth_token=(ACCOUNT_LOGIN.auth_token,),
        twilio_api_base_url=api_base_url,
    )


def callback_url(action: str, **parameters: str | None) -> str:
    """Return the URL with which the product asks for this action."""
    return CallbackUrls(CALLBACK, STATE_SIGNER).build(action, **parameters)


@contextmanager
def connected_twilio() -> Iterator[ConnectedTwilio]:
    """Run a Twilio whose account owns `NUMBER`, with the deployment's adapter."""
    with twilio_server() as server:
        account = server.account(ACCOUNT_LOGIN.account_sid, ACCOUNT_LOGIN.auth_token)
        account.add_number(NUMBER)
        connected = ConnectedTwilio(server, account, adapter=None)  # type: ignore[arg-type] # set below
        connected.adapter = connected.new_adapter(api_key=API_KEY)
        try:
            yield connected
        finally:
            connected.adapter.close()
