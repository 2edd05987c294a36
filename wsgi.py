"""The WSGI entry point; the flask command finds the app here by itself."""

import gc

# Nothing of what is made until the app is there is garbage, and a fifth of the start went into
# looking for some.
gc.disable()

from vca.app import create_app  # noqa: E402

app = create_app()

gc.enable()
