"""Flask and nothing else: the minimum cost of a request."""

from flask import Flask

app = Flask("hello", static_folder=None)


@app.get("/")
def hello() -> str:
    """Say hello."""
    return "Hello"
