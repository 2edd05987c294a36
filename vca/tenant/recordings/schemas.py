"""Query parameters of recordings."""

from vca.kit.web import Schema
from vca.kit.web.schema import string
from vca.tenant.recordings.models import KINDS


class RecordingQuery(Schema):
    """Selects the recording of the call or of the voicemail that was left in it."""

    kind = string(
        1,
        20,
        one_of=KINDS,
        load_default="call",
        metadata={"description": "The recording of the call or of its voicemail."},
    )
