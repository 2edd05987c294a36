"""Analyse a finished call with a model. The job may be repeated at any time."""

from vca.conversation import analysis as conversation_analysis
from vca.conversation import redaction
from vca.conversation.llm import ModelError
from vca.kit import clock
from vca.observability import log, metrics
from vca.tenancy.session import tenant_session
from vca.tenant.calls.core import call_events, call_services, record, state_machine
from vca.tenant.calls.core.call_types import CallRef
from vca.tenant.calls.turns import conversation_inputs, spoken_language


def analyse_call(ref: CallRef) -> None:
    """Store the summary, outcome and data of a call that has ended.

    Does nothing with a scripted model, and for a call without a profile. Raises ModelError if
    another attempt may succeed. A permanent error is logged, and the call stays as it is.
    """
    models = call_services.current_services().models
    if not models.primary.for_real_callers:
        return
    with tenant_session(ref.tenant) as session:
        call_context = record.lock_call_context(session, ref.call_id)
        transcript = conversation_inputs.to_transcript(record.list_turns(session, ref.call_id))
    if (
        call_context.status not in state_machine.TERMINAL
        or call_context.profile is None
        or not transcript
    ):
        return  # no turns: retention deleted them before the analysis
    profile = conversation_inputs.to_conversation_profile(
        spoken_language.in_main_language(call_context.profile)
    )
    try:
        analysis = conversation_analysis.analyse_call(
            profile, transcript, models=models, extract=call_context.profile.get("extract")
        )
    except ModelError as error:
        metrics.MODEL_FAILURES_TOTAL.inc(failure=error.failure)
        if not error.permanent:
            raise
        log.get_logger().error("call.not_analysed", call_id=str(ref.call_id), **error.log_fields)
        return
    redaction_rules = redaction.from_profile(call_context.profile.get("redaction"))
    with tenant_session(ref.tenant) as session:
        call_context = record.lock_call_context(session, ref.call_id)
        record.add_tokens(session, call_context, analysis.tokens)
        if not record.list_turns(session, ref.call_id):  # deleted during the analysis
            return
        record.update_call(
            session,
            ref.call_id,
            summary=redaction_rules.redact_text(analysis.summary)
            if analysis.summary
            else analysis.summary,
            outcome=analysis.outcome,
            data=redaction_rules.redact_value(analysis.data),
            analysed_at=clock.now(),
        )
        call_events.emit_call_analysed(
            session, ref, outcome=analysis.outcome, simulated=call_context.simulated
        )
