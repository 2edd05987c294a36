"""The WSGI entry point. The `flask` command finds the app here."""

import gc

# Nothing that is created before the app exists is garbage, and looking for garbage took a fifth of
# the start-up time.
gc.disable()

from vca.app import create_app  # noqa: E402

app = create_app()

gc.enable()
