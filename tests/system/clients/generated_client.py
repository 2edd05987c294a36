"""Call the API through the client that openapi-python-client generated.

The program runs in the tools' environment, which has no package of this project. The test puts the
generated package `vca_client` on PYTHONPATH. The program reads its input as JSON from stdin and
writes what the client returned as JSON to stdout.
"""

import json
import sys
from typing import Any
from uuid import UUID

from vca_client import AuthenticatedClient
from vca_client.api.calls import get_call, list_calls
from vca_client.api.phone_numbers import add_number, change_number, get_number, list_numbers
from vca_client.api.settings import change_settings, get_settings
from vca_client.models.hours import Hours
from vca_client.models.new_phone_number import NewPhoneNumber
from vca_client.models.phone_number_change import PhoneNumberChange
from vca_client.models.settings import Settings


def _summary(model: Any, *names: str) -> dict[str, Any]:
    """Return the named attributes as JSON, each with the class that the client parsed it as.

    A generated client that cannot parse an object may return the plain dictionary instead.
    """
    plain = model.to_dict()
    return {
        name: {"class": type(getattr(model, name)).__name__, "json": plain.get(name)}
        for name in names
    }


def _settings(model: Any) -> dict[str, Any]:
    return _summary(model, "hours")


def _number(model: Any) -> dict[str, Any]:
    number = _summary(model, "hours", "previous_carrier")
    if isinstance(model.hours, Hours):
        number |= {"weekly": _summary(model.hours, "weekly")["weekly"]}
    return number


def _call(model: Any) -> dict[str, Any]:
    return _summary(model, "transfer")


def main(parameters: dict[str, Any]) -> dict[str, Any]:
    """Read and write every nullable object of numbers, calls and settings."""
    tenant_id = UUID(parameters["tenant_id"])
    opening = Hours.from_dict(parameters["hours"])
    holidays_only = Hours.from_dict(parameters["holidays_only"])
    assert holidays_only.weekly is None
    with AuthenticatedClient(
        parameters["base_url"], parameters["key"], raise_on_unexpected_status=True
    ) as client:

        def read_numbers() -> dict[str, Any]:
            items = list_numbers.sync(tenant_id, client=client)
            return {str(number.id): _number(number) for number in items}

        def read_number(number_id: str) -> dict[str, Any]:
            return _number(get_number.sync(tenant_id, UUID(number_id), client=client))

        def add(**fields: Any) -> dict[str, Any]:
            body = NewPhoneNumber(**fields)
            return _number(add_number.sync(tenant_id, client=client, body=body))

        def change(number_id: str, hours: Hours | None) -> dict[str, Any]:
            body = PhoneNumberChange(hours=hours)
            return _number(change_number.sync(tenant_id, UUID(number_id), client=client, body=body))

        def read_calls() -> dict[str, Any]:
            items = list_calls.sync(tenant_id, client=client)
            return {str(call.id): _call(call) for call in items}

        def read_call(call_id: str) -> dict[str, Any]:
            return _call(get_call.sync(tenant_id, UUID(call_id), client=client))

        def update_settings(hours: Hours | None) -> dict[str, Any]:
            body = Settings(hours=hours)
            return _settings(change_settings.sync(tenant_id, client=client, body=body))

        first, second = parameters["new_numbers"]
        return {
            "numbers": read_numbers(),
            "number": {number_id: read_number(number_id) for number_id in read_numbers()},
            "calls": read_calls(),
            "call": {call_id: read_call(call_id) for call_id in read_calls()},
            "added with hours": add(did_number=first, hours=opening),
            "added without hours": add(did_number=second, hours=None),
            "changed to hours": change(parameters["number_id"], opening),
            "changed to holidays": change(parameters["number_id"], holidays_only),
            "changed to no hours": change(parameters["number_id"], None),
            "settings": _settings(get_settings.sync(tenant_id, client=client)),
            "settings with hours": update_settings(opening),
            "settings without hours": update_settings(None),
        }


if __name__ == "__main__":
    json.dump(main(json.load(sys.stdin)), sys.stdout)
