"""What callers get when VCA itself is away: static documents that somebody else serves."""

from collections.abc import Sequence
from pathlib import Path

from vca.registry.dids.fleet import Claimed
from vca.telephony import providers
from vca.telephony.types import CallReply
from vca.tenant.calls import fallback, signing

# What a file is called that has a carrier's answer in it.
_SUFFIXES = {"application/json": ".json", "application/xml": ".xml", "text/xml": ".xml"}


def write(numbers: Sequence[Claimed], folder: Path) -> int:
    """One document for each number whose carrier there is; how many.

    Each appears under its name when it is complete.
    """
    written = 0
    for number in numbers:
        name = providers.current().name_of(number.provider_type)
        reader = providers.current().reader(name) if name is not None else None
        owner = signing.find_owner(number.did_number)
        if reader is None or owner is None:
            continue
        answer = reader.render(CallReply(fallback.configured(owner)), callback_url="")
        suffix = _SUFFIXES.get(answer.content_type.partition(";")[0].strip(), ".txt")
        place = folder / reader.name / f"{number.did_number.lstrip('+')}{suffix}"
        place.parent.mkdir(parents=True, exist_ok=True)
        passing = place.with_name(f".{place.name}.part")
        passing.write_bytes(answer.body)
        passing.replace(place)
        written += 1
    return written
