"""Static documents that another server returns to carriers while VCA is unreachable."""

from collections.abc import Sequence
from pathlib import Path

from vca.registry.number_registry.claimed_numbers import ClaimedNumber
from vca.telephony import providers
from vca.telephony.types import CallReply
from vca.tenant.calls.carrier_webhooks import authentication, fallback

# File suffix per content type of the carrier's reply.
_SUFFIXES = {"application/json": ".json", "application/xml": ".xml", "text/xml": ".xml"}


def write_documents(numbers: Sequence[ClaimedNumber], folder: Path) -> int:
    """Write one document per number of a configured carrier; return how many.

    Each file appears under its name only when it is complete.
    """
    document_count = 0
    for number in numbers:
        name = providers.current_carriers().carrier_name(number.provider_type)
        parser = providers.current_carriers().parser_for(name) if name is not None else None
        owner = authentication.find_number_owner(number.did_number)
        if parser is None or owner is None:
            continue
        response = parser.render(CallReply(fallback.fallback_actions(owner)), callback_url="")
        suffix = _SUFFIXES.get(response.content_type.partition(";")[0].strip(), ".txt")
        path = folder / parser.name / f"{number.did_number.lstrip('+')}{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        partial_path = path.with_name(f".{path.name}.part")
        partial_path.write_bytes(response.body)
        partial_path.replace(path)
        document_count += 1
    return document_count
