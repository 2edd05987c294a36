"""Flask and nothing else: what cannot be saved."""

from flask import Flask

app = Flask("hello", static_folder=None)


@app.get("/")
def hello() -> str:
    """Say hello."""
    return "Hello"
