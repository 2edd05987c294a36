"""The adapter and a fake Twilio with an account, connected."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tests.contract.suites.telephony import CALLBACK, NUMBER
from tests.fakes.carriers.twilio.account import TwilioAccount
from tests.fakes.carriers.twilio.server import TwilioServer, twilio_server
from vca.settings import Settings
from vca.telephony.providers.twilio.adapter import TwilioAdapter
from vca.telephony.providers.twilio.settings import (
    ApiKey,
    RestTimeouts,
    TwilioCredentials,
    TwilioUrls,
)

ACCOUNT_LOGIN = TwilioCredentials(f"AC{1:032x}", f"{1:032x}")
OTHER_LOGIN = TwilioCredentials(f"AC{2:032x}", f"{2:032x}")
API_KEY = ApiKey(f"SK{1:032x}", "the-secret-of-an-api-key-of-acme")
FALLBACK = "https://fallback.example.com/twilio/"
# For what is answered: only the pause before a repetition is short. For what never is: all of it.
SHORT_RETRY_PAUSE = RestTimeouts(retry_pause_s=0.01)
SHORT_TIMEOUTS = RestTimeouts(total_s=3, response_s=0.2, retry_pause_s=0.01)


@dataclass
class ConnectedTwilio:
    """Both ends of the API."""

    server: TwilioServer
    account: TwilioAccount
    adapter: TwilioAdapter

    def new_adapter(
        self, login: TwilioCredentials = ACCOUNT_LOGIN, **options: Any
    ) -> TwilioAdapter:
        """Another adapter of this Twilio, which whoever asks for it closes."""
        callback_urls = TwilioUrls(CALLBACK, FALLBACK, self.server.url)
        return TwilioAdapter((login,), callback_urls, **{"timeouts": SHORT_RETRY_PAUSE, **options})

    def requests_to(self, method: str, path: str) -> list[dict[str, list[str]]]:
        """The forms or queries of the requests to paths that end so."""
        return [
            request.fields
            for request in self.account.requests
            if request.method == method and request.path.endswith(f"/{path}")
        ]


def deployment_settings(api_base_url: str = "") -> Settings:
    """Settings of a deployment with this account, at Twilio or at a server of ours."""
    return Settings(
        database_url="postgresql://localhost/nowhere",
        app_env="development",
        app_name="VCA",
        debug=False,
        secret_key="a-secret-of-this-test-alone-and-no-other",
        public_base_url="https://voice.example.com/vca",
        twilio_account_sid=ACCOUNT_LOGIN.account_sid,
        twilio_auth_token=(ACCOUNT_LOGIN.auth_token,),
        twilio_api_base_url=api_base_url,
    )


@contextmanager
def connected_twilio() -> Iterator[ConnectedTwilio]:
    """A Twilio whose account owns `NUMBER`, and the deployment's adapter."""
    with twilio_server() as server:
        account = server.account(ACCOUNT_LOGIN.account_sid, ACCOUNT_LOGIN.auth_token)
        account.add_number(NUMBER)
        connected = ConnectedTwilio(server, account, adapter=None)  # type: ignore[arg-type] # in the next line
        connected.adapter = connected.new_adapter(api_key=API_KEY)
        try:
            yield connected
        finally:
            connected.adapter.close()
