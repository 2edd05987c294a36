"""`flask telnyx`: manage the deployment's own account with Telnyx."""

from dataclasses import asdict

from vca import cli
from vca.telephony.adapter import TelephonyError
from vca.telephony.providers import Carriers
from vca.telephony.providers.telnyx.adapter import TelnyxAdapter

telnyx = cli.Group("telnyx", help="Manage the deployment's Telnyx account.")


@telnyx.command()
@cli.as_json
def setup(as_json: bool) -> None:
    """Create or update the Telnyx application.

    Calls come through this call-control application. You can run the command again at any time.
    """
    carriers: Carriers = cli.app_extension("vca").carriers
    adapter = carriers.adapter(TelnyxAdapter.name)
    if not isinstance(adapter, TelnyxAdapter):
        cli.fail("TELNYX_API_KEY and TELNYX_PUBLIC_KEY are not set.")
    try:
        application = adapter.set_up_application()
    except TelephonyError as error:
        cli.fail(f"{str(error)[0].upper()}{str(error)[1:]}.")
    text = (
        f"{application.name} is {application.done}.\n"
        f"TELNYX_CONNECTION_ID={application.connection_id}"
    )
    cli.print_result(asdict(application), as_json=as_json, text=text)
