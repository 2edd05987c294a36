"""flask-smorest's blueprint with our parser and our conventions of documentation."""

from typing import Any

import flask_smorest

from vca.kit.web.parser import StrictParser


class Blueprint(flask_smorest.Blueprint):
    """A feature's operations."""

    ARGUMENTS_PARSER = StrictParser()

    def arguments(self, schema: Any, **options: Any) -> Any:
        """As flask-smorest's, but one instance of the schema serves every request."""
        return super().arguments(schema() if isinstance(schema, type) else schema, **options)


def created_response(item: Any, path: str) -> tuple[Any, int, dict[str, str]]:
    """A 201 answer with the `Location` of what was made."""
    return item, 201, {"Location": path}


def accepted_response(item: Any, path: str) -> tuple[Any, int, dict[str, str]]:
    """A 202 answer with the `Location` of what will tell what came of it."""
    return item, 202, {"Location": path}
