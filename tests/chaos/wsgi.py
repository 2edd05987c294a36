"""The app with the remote fake carrier, loaded once for all processes that are to be killed."""

from tests.support import carrier_adapter
from vca.app import create_app
from vca.services import EXTENSION
from vca.telephony.providers import ADAPTERS
from vca.tenancy import schema

ADAPTERS[carrier_adapter.PROVIDER_TYPE] = carrier_adapter.ADAPTER_PATH
app = create_app()
app.extensions[EXTENSION].models.warm_up()
schema.head()
