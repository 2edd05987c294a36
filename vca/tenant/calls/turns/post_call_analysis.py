"""Analyse a finished call with a model. The job may be repeated at any time."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from vca.conversation import analysis as conversation_analysis
from vca.conversation.analysis import Analysis, AnalysisRun
from vca.conversation.llm import ModelError
from vca.conversation.redaction import Redaction
from vca.conversation.transcript import Turn
from vca.conversation.types import Tokens
from vca.kit import clock
from vca.kit.backoff import BackOff
from vca.kit.errors import NotFound
from vca.observability import log, metrics
from vca.services import Services
from vca.tenancy.session import tenant_session
from vca.tenant.calls.core import (
    analysis_state,
    call_events,
    record,
    simulated_tokens,
    turn_records,
)
from vca.tenant.calls.core.analysis_state import AnalysisReason, AnalysisState
from vca.tenant.calls.core.call_context import CallContext
from vca.tenant.calls.core.call_profile import CallProfile
from vca.tenant.calls.core.call_types import CallRef
from vca.tenant.calls.turns import conversation_inputs

BACK_OFF = BackOff((60, 480, 2_700), jitter=0)
"""How long to wait for a model that is temporarily unavailable, after each attempt but the last."""
_TEMPORARY_FAILURES = ("timeout", "rate_limited", "unavailable")
_NO_CONVERSATION = Analysis("", "no_conversation", None)


@dataclass(frozen=True)
class _Inputs:
    """What the model needs of a call."""

    profile: CallProfile
    transcript: Sequence[Turn]


def analyse_call(ref: CallRef, *, services: Services, attempt: int = 1) -> None:
    """Store the summary, outcome and data of a call that has ended, or why there are none.

    Does nothing if the analysis has ended already. If the model is temporarily unavailable, another
    attempt is scheduled, as long as `BACK_OFF` has one. Raises no ModelError.
    """
    inputs = _load_inputs(ref, services=services)
    if inputs is None:
        return
    run = conversation_analysis.analyse_call(
        inputs.profile.conversation,
        inputs.transcript,
        models=services.models,
        extract=inputs.profile.extract,
        record_tokens=lambda tokens: _record_tokens(ref, tokens, services=services),
    )
    with tenant_session(ref.tenant, database=services.database) as session:
        call_context = _lock_call(session, ref)
        if call_context is None:
            return
        # Another job may have ended it, or the transcript was deleted.
        if not analysis_state.is_due(call_context.analysis):
            return
        if not turn_records.list_turns(session, ref.call_id):
            _end_analysis(session, ref, AnalysisState("none", "forgotten"))
        elif run.analysis is not None:
            analysis = _redact(run.analysis, inputs.profile.redaction)
            _store_analysis(session, ref, call_context, analysis, AnalysisState("done"))
        else:
            _handle_failure(session, ref, run, attempt=attempt)


def _record_tokens(ref: CallRef, tokens: Tokens, *, services: Services) -> None:
    """Record the tokens of one answer, which are paid for whatever becomes of the answer."""
    if not tokens.total:
        return
    with tenant_session(ref.tenant, database=services.database) as session:
        call_context = _lock_call(session, ref)
        if call_context is not None:
            record.add_tokens(session, call_context, tokens)


def _load_inputs(ref: CallRef, *, services: Services) -> _Inputs | None:
    """Return what to analyse, or end the analysis and return None if there is nothing."""
    models = services.models
    with tenant_session(ref.tenant, database=services.database) as session:
        call_context = _lock_call(session, ref)
        if (
            call_context is None
            or call_context.profile is None
            or not analysis_state.is_due(call_context.analysis)
        ):
            return None
        transcript = conversation_inputs.to_transcript(
            turn_records.list_turns(session, ref.call_id)
        )
        if not models.primary.for_real_callers or _is_out_of_tokens(
            session, call_context, services=services
        ):
            _end_analysis(session, ref, AnalysisState("none", "no_model"))
        elif not transcript and call_context.tokens:  # a model has answered, so there were turns
            _end_analysis(session, ref, AnalysisState("none", "forgotten"))
        elif not conversation_analysis.caller_spoke(transcript):
            state = AnalysisState("none", "no_words")
            _store_analysis(session, ref, call_context, _NO_CONVERSATION, state)
        else:
            return _Inputs(call_context.profile.in_main_language(), transcript)
    return None


def _is_out_of_tokens(session: Session, call_context: CallContext, *, services: Services) -> bool:
    """Return whether the call is simulated and the tenant's simulated tokens are used up."""
    return call_context.simulated and not simulated_tokens.has_tokens_left(
        session, now=clock.now(), services=services
    )


def _lock_call(session: Session, ref: CallRef) -> CallContext | None:
    """Return the call with its profile, or None if it was deleted or has not ended."""
    try:
        call_context = record.lock_call_context(session, ref.call_id)
    except NotFound:
        return None
    return call_context if call_context.has_ended else None


def _handle_failure(session: Session, ref: CallRef, run: AnalysisRun, *, attempt: int) -> None:
    """Schedule another attempt, or end the analysis."""
    assert run.failure is not None
    failure = run.failure
    metrics.MODEL_FAILURES_TOTAL.inc(failure=failure.failure)
    fields = {"call_id": str(ref.call_id), "attempt": attempt, **failure.log_fields}
    if _is_temporary(failure) and BACK_OFF.allows_retry(attempt):
        run_at = clock.now() + BACK_OFF.delay(attempt)
        analysis_state.schedule_retry(session, ref.call_id, attempt=attempt + 1, run_at=run_at)
        log.get_logger().warning("call.analysis_postponed", **fields)
        return
    is_bad_answer = failure.failure == "bad_answer"
    reason: AnalysisReason = "bad_answer" if is_bad_answer else "model_failed"
    _end_analysis(session, ref, AnalysisState("failed", reason))
    log.get_logger().error("call.not_analysed", **fields)


def _is_temporary(failure: ModelError) -> bool:
    return not failure.permanent and failure.failure in _TEMPORARY_FAILURES


def _redact(analysis: Analysis, rules: Redaction) -> Analysis:
    return Analysis(
        rules.redact_text(analysis.summary), analysis.outcome, rules.redact_value(analysis.data)
    )


def _store_analysis(
    session: Session,
    ref: CallRef,
    call_context: CallContext,
    analysis: Analysis,
    state: AnalysisState,
) -> None:
    results = {"summary": analysis.summary, "outcome": analysis.outcome, "data": analysis.data}
    _end_analysis(session, ref, state, **results, analysed_at=clock.now())
    call_events.emit_call_analysed(
        session, ref, outcome=analysis.outcome, simulated=call_context.simulated
    )


def _end_analysis(session: Session, ref: CallRef, state: AnalysisState, **changes: Any) -> None:
    analysis_state.count_result(state)
    columns = {"analysis_status": state.status, "analysis_reason": state.reason}
    record.update_call(session, ref.call_id, **columns, **changes)
