"""Fields of a body that need one more scope than their operation."""

from typing import Any

import pytest

from vca.kit.web.access import ScopedField, ScopeMissing, access, require_field_scopes

FIELDS = (
    ScopedField("/spend_cap", "admin", lambda old, new: new is None or new > (old or 0)),
    ScopedField("/dial_policy/per_day", "admin", lambda old, new: new > old),
    ScopedField("/notification_email", "content"),
)
OLD: dict[str, Any] = {
    "spend_cap": 100,
    "dial_policy": {"per_day": 200},
    "notification_email": "team@acme.example",
}


def change(scopes: set[str], **changes: Any) -> None:
    require_field_scopes(FIELDS, scopes=scopes, old=OLD, new={**OLD, **changes})


def test_a_key_with_the_scope_may_make_the_change() -> None:
    change({"write", "admin"}, spend_cap=None, dial_policy={"per_day": 1_000})


def test_a_change_that_needs_no_scope_is_allowed() -> None:
    change({"write"}, spend_cap=50, dial_policy={"per_day": 10})


def test_the_same_value_needs_no_scope() -> None:
    change({"write"}, notification_email="team@acme.example")


def test_every_field_that_needs_the_scope_is_named() -> None:
    with pytest.raises(ScopeMissing) as error_info:
        change({"write"}, spend_cap=None, dial_policy={"per_day": 1_000})

    assert [error.pointer for error in error_info.value.errors] == [
        "/spend_cap",
        "/dial_policy/per_day",
    ]
    assert "admin" in error_info.value.detail
    assert (error_info.value.status, error_info.value.problem_code) == (403, "scope-missing")


def test_each_field_has_a_scope_of_its_own() -> None:
    with pytest.raises(ScopeMissing) as error_info:
        change({"write", "admin"}, spend_cap=None, notification_email=None)

    assert [error.pointer for error in error_info.value.errors] == ["/notification_email"]
    assert "content" in error_info.value.detail


def test_a_missing_part_of_the_path_is_no_value() -> None:
    field = ScopedField("/limits/dialling/per_day", "admin")

    with pytest.raises(ScopeMissing):
        require_field_scopes(
            [field], scopes=(), old={"limits": None}, new={"limits": {"dialling": {"per_day": 1}}}
        )


@pytest.mark.parametrize(
    ("scope", "additional_scope"),
    [("content", None), ("read", "content"), ("write", None), ("admin", None)],
)
def test_an_audited_operation_cannot_read_without_a_session(
    scope: str, additional_scope: str | None
) -> None:
    with pytest.raises(ValueError, match="an audited operation needs a session"):
        access("tenant", scope, transaction="tenant_read", additional_scope=additional_scope)
