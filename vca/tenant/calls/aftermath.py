"""After the call: a model notes what it was about, in a job that may run again at any time."""

from vca.conversation import redaction
from vca.conversation.analysis import analyse as analysed
from vca.conversation.llm import ModelError
from vca.kit import clock, log, metrics
from vca.tenancy.session import enter
from vca.tenant.calls import desk, profiles, record, states, telling
from vca.tenant.calls.refs import CallRef


def analyse(ref: CallRef) -> None:
    """Write summary, outcome and data of a call that has ended.

    Nothing is written where only the script answers, nor for a call without a profile. Raises
    ModelError for what another try may mend; what it cannot is logged, and the call stays as it is.
    """
    models = desk.current().models
    if not models.primary.for_real_callers:
        return
    with enter(ref.tenant) as session:
        talk = record.talk(session, ref.call_id)
        said = profiles.transcript_of(record.lines(session, ref.call_id))
    if talk.status not in states.TERMINAL or talk.profile is None or not said:
        return  # without a word on record: they were forgotten before they were noted
    profile = profiles.conversational(talk.profile)
    try:
        found = analysed(profile, said, models=models, extract=talk.profile.get("extract"))
    except ModelError as error:
        metrics.MODEL_FAILURES_TOTAL.inc(failure=error.failure)
        if not error.permanent:
            raise
        log.get().error("call.not_analysed", call_id=str(ref.call_id), **error.log_fields)
        return
    kept = redaction.of(talk.profile.get("redaction"))
    with enter(ref.tenant) as session:
        record.talk(session, ref.call_id)
        record.spend(session, ref.call_id, found.tokens)
        if not record.lines(session, ref.call_id):  # forgotten while the model read them
            return
        record.note(
            session,
            ref.call_id,
            summary=kept.text(found.summary) if found.summary else found.summary,
            outcome=found.outcome,
            data=kept.value(found.data),
            analysed_at=clock.now(),
        )
        telling.analysed(session, ref, outcome=found.outcome, simulated=talk.simulated)
