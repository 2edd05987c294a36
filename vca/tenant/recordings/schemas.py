"""Which recording of a call is asked for."""

from vca.kit.web import Schema
from vca.kit.web.schema import string
from vca.tenant.recordings.models import KINDS


class RecordingQuery(Schema):
    """The call's own audio, or the voicemail's that was left in it."""

    kind = string(
        1, 20, one_of=KINDS, load_default="call", metadata={"description": "Default: `call`."}
    )
