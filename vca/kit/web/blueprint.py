"""flask-smorest's blueprint with the strict parser, and responses with a `Location` header."""

from functools import partial
from typing import Any

from apispec import APISpec
from flask import Flask
from typing_extensions import override

from vca.kit.hidden_packages import hide_packages
from vca.kit.web.parser import ArgumentSchema, StrictParser, declare_argument

with hide_packages("yaml"):  # for a command that prints the document as YAML
    import flask_smorest


class Blueprint(flask_smorest.Blueprint):
    """The operations of a feature."""

    ARGUMENTS_PARSER = StrictParser()

    @override
    def register_views_in_doc(
        self, api: Any, app: Flask, spec: APISpec, *, name: str, parameters: Any
    ) -> None:
        """Let the API describe the operations when its document is built.

        That takes a tenth of the start-up time, and most processes are never asked for it.
        """
        describe = partial(super().register_views_in_doc, api, app, spec)
        api.defer_description(partial(describe, name=name, parameters=parameters))

    def arguments(self, schema: Any, *, location: str = "json", **options: Any) -> Any:
        """Do as flask-smorest does, but use one schema instance for all requests.

        The view knows its schemas, so that its arguments can be parsed ahead: see `parse_ahead`.
        """
        instance = schema() if isinstance(schema, type) else schema
        decorate = super().arguments(instance, location=location, **options)

        def decorate_view(view: Any) -> Any:
            decorated = decorate(view)
            declare_argument(decorated, ArgumentSchema(instance, location))
            return decorated

        return decorate_view


def created_response(item: Any, path: str) -> tuple[Any, int, dict[str, str]]:
    """Return a 201 response with the `Location` of the new resource."""
    return item, 201, {"Location": path}


def accepted_response(item: Any, path: str) -> tuple[Any, int, dict[str, str]]:
    """Return a 202 response with the `Location` where the result can be read."""
    return item, 202, {"Location": path}
