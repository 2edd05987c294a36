"""The services of the app under test, and replacing some of them until the end of a test."""

from copy import copy
from dataclasses import replace
from typing import Any

from flask import Flask

from vca.kit.number_ranges import parse_ranges
from vca.services import EXTENSION, Services
from vca.settings import Settings
from vca.telephony.providers import Carriers
from vca.tenancy.database import TenantDatabase

_apps: list[Flask] = []


def set_app(app: Flask) -> None:
    """Make this the app under test in this process."""
    _apps[:] = [app]


def app_services() -> Services:
    """Return the services of the app under test."""
    services: Services = _apps[0].extensions[EXTENSION]
    return services


def use_services(**changes: Any) -> Services:
    """Replace some of the app's services; the fixture `app` restores them."""
    services = _apps[0].extensions[EXTENSION] = replace(app_services(), **changes)
    return services


def use_settings(**changes: Any) -> Settings:
    """Replace some settings, but no service that was built from them."""
    return use_services(settings=replace(app_services().settings, **changes)).settings


def add_number_ranges(text: str) -> None:
    """Set `DIALLABLE_PREFIXES` of the app, whose configuration the fixture `app` restores."""
    ranges = parse_ranges(text)
    use_settings(diallable_prefixes=ranges)
    _apps[0].config["DIALLABLE_PREFIXES"] = ranges


def use_production_rules() -> None:
    """Act as in production, with settings that could not start there."""
    settings = copy(app_services().settings)
    object.__setattr__(settings, "app_env", "production")
    use_services(settings=settings)


def use_database(database: TenantDatabase) -> TenantDatabase:
    """Let the app use this database."""
    return use_services(database=database).database


def use_carriers(carriers: Carriers) -> Carriers:
    """Let the app use these carriers."""
    return use_services(carriers=carriers).carriers


def open_database(dsn: str, **options: Any) -> TenantDatabase:
    """Open a pool of a database whose tenants have the same roles as those of the app."""
    database = app_services().database
    return TenantDatabase(dsn, roles=database.roles, observer=database.observer, **options)
