"""The schema of the state of a call's post-call analysis."""

from vca.kit.web import Schema
from vca.kit.web.schema import string
from vca.tenant.calls.core import analysis_state


class AnalysisSchema(Schema):
    """The state of a call's post-call analysis."""

    status = string(
        1,
        20,
        one_of=analysis_state.STATUSES,
        metadata={
            "description": "`pending`: from the end of the call until a job has analysed it. "
            "`none`: there is nothing to analyse, or nothing to analyse it with.",
            "example": "done",
        },
    )
    reason = string(
        1,
        20,
        one_of=analysis_state.REASONS,
        allow_none=True,
        metadata={
            "description": "`no_model`: the agent is a script. `no_words`: the caller said "
            "nothing. `model_failed`: the model did not answer, also not in a later attempt. "
            "`bad_answer`: its answer could not be used. `forgotten`: the transcript was deleted; "
            "with `done`, the summary and the data too.",
            "example": None,
        },
    )
