"""The WSGI entry point; the flask command finds the app here by itself."""

from vca.app import create_app

app = create_app()
