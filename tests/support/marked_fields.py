"""Fields of a tenant's resources whose texts contain a marker."""

from typing import Any

from tests.support.factories import fresh_number


def settings_fields(marker: str) -> dict[str, Any]:
    """Return the settings of a tenant."""
    return {
        "time_zone": "Europe/Berlin",
        "home_country": "GB",
        "sentences": _sentences(marker),
        "phrases": {"de": {"goodbye": f"{marker}: Auf Wiederhören."}},
        "hours": hours_fields(marker),
        "variables": {"company": marker},
        "notification_email": f"{marker}@example.com",
        "dial_policy": {"per_minute": 1_000},
    }


def hours_fields(marker: str) -> dict[str, Any]:
    """Return opening hours with one holiday."""
    return {"holidays": [{"date": "2030-12-25", "name": marker}], "closed_action": "voicemail"}


def _sentences(marker: str) -> dict[str, str]:
    names = ("over_limit", "suspended", "closed", "fallback")
    return {name: f"{marker}: {name}." for name in names}


def profile_fields(marker: str) -> dict[str, Any]:
    """Return an AI profile that uses every optional feature."""
    target = {"number": fresh_number(), "description": marker}
    return {
        "name": marker,
        "system_prompt": f"You answer for {marker}.",
        "greeting": f"{marker}, good morning!",
        "language": "en-US",
        "voice": marker,
        "model": "house-model",
        "end_phrases": [f"goodbye {marker}"],
        "tools": ["transfer"],
        "transfer_targets": {marker[:40]: target},
        "extract": {"type": "object", "title": marker},
        "consent_sentence": f"{marker} records this call.",
        "turn": {"languages": [{"language": "es-US", "voice": marker}]},
    }
