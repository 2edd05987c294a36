"""The adapter and a fake Twilio with an account, connected."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tests.carriers.twilio.account import TwilioAccount
from tests.carriers.twilio.server import TwilioServer, twilio_server
from tests.contracts.telephony import CALLBACK, NUMBER
from vca.settings import Settings
from vca.telephony.providers.twilio.adapter import TwilioAdapter
from vca.telephony.providers.twilio.settings import (
    ApiKey,
    RestTimeouts,
    TwilioCredentials,
    TwilioUrls,
)

OURS = TwilioCredentials(f"AC{1:032x}", f"{1:032x}")
THEIRS = TwilioCredentials(f"AC{2:032x}", f"{2:032x}")
API_KEY = ApiKey(f"SK{1:032x}", "the-secret-of-an-api-key-of-acme")
FALLBACK = "https://fallback.example.com/twilio/"
# For what is answered: only the pause before a repetition is short. For what never is: all of it.
QUICK = RestTimeouts(retry_pause_s=0.01)
UNHEARD = RestTimeouts(total_s=3, response_s=0.2, retry_pause_s=0.01)


@dataclass
class Rig:
    """Both ends of the API."""

    server: TwilioServer
    account: TwilioAccount
    adapter: TwilioAdapter

    def another(self, login: TwilioCredentials = OURS, **options: Any) -> TwilioAdapter:
        """Another adapter of this Twilio, which whoever asks for it closes."""
        place = TwilioUrls(CALLBACK, FALLBACK, self.server.url)
        return TwilioAdapter((login,), place, **{"timeouts": QUICK, **options})

    def asked(self, method: str, path: str) -> list[dict[str, list[str]]]:
        """The forms or queries of the requests to paths that end so."""
        return [
            it.said
            for it in self.account.asked
            if it.method == method and it.path.endswith(f"/{path}")
        ]


def deployment(api_base_url: str = "") -> Settings:
    """Settings of a deployment with this account, at Twilio or at a server of ours."""
    return Settings(
        database_url="postgresql://localhost/nowhere",
        app_env="development",
        app_name="VCA",
        debug=False,
        secret_key="a-secret-of-this-test-alone-and-no-other",
        public_base_url="https://voice.example.com/vca",
        twilio_account_sid=OURS.account_sid,
        twilio_auth_token=(OURS.auth_token,),
        twilio_api_base_url=api_base_url,
    )


@contextmanager
def rig() -> Iterator[Rig]:
    """A Twilio whose account owns `NUMBER`, and the deployment's adapter."""
    with twilio_server() as server:
        account = server.account(OURS.account_sid, OURS.auth_token)
        account.own(NUMBER)
        made = Rig(server, account, adapter=None)  # type: ignore[arg-type] # in the next line
        made.adapter = made.another(api_key=API_KEY)
        try:
            yield made
        finally:
            made.adapter.close()
