"""The state of a call's post-call analysis, from the end of the call on."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, TypeAlias, get_args
from uuid import UUID

from sqlalchemy import case, text
from sqlalchemy.orm import Session

from vca.jobs import queue
from vca.observability import metrics
from vca.services import Services
from vca.tenancy.schema import TenantRef
from vca.tenant.calls.core.call_types import StoredCall
from vca.tenant.calls.core.models import Call
from vca.tenant.calls.core.state_machine import LifecycleState

AnalysisStatus: TypeAlias = Literal["none", "pending", "done", "failed"]
AnalysisReason: TypeAlias = Literal[
    "no_model", "no_words", "model_failed", "bad_answer", "forgotten"
]
STATUSES: tuple[AnalysisStatus, ...] = get_args(AnalysisStatus)
REASONS: tuple[AnalysisReason, ...] = get_args(AnalysisReason)
ANALYSE_JOB = "calls.analyse"


@dataclass(frozen=True)
class AnalysisState:
    """Whether there is an analysis, and why not."""

    status: AnalysisStatus = "none"
    reason: AnalysisReason | None = None


NOT_REQUIRED = AnalysisState()
_SELECT_PENDING = "SELECT id FROM \"{schema}\".calls WHERE analysis_status = 'pending'"
# Update these columns when the transcript of a call is deleted.
FORGOTTEN_COLUMNS: dict[str, Any] = {
    "analysis_status": case(
        (Call.analysis_status == "pending", "none"), else_=Call.analysis_status
    ),
    "analysis_reason": case(
        (Call.analysis_status.in_(("pending", "done")), "forgotten"), else_=Call.analysis_reason
    ),
}


def read_state(
    status: AnalysisStatus, reason: AnalysisReason | None, analysed_at: datetime | None
) -> AnalysisState:
    """Return the state from the columns of a call.

    `analysed_at` alone says that a worker of an earlier release analysed the call.
    """
    if analysed_at is not None and reason is None:
        return AnalysisState("done")
    return AnalysisState(status, reason)


def is_due(state: AnalysisState) -> bool:
    """Return whether a job may analyse the call.

    A process of an earlier release enqueues the job and leaves the status as it is.
    """
    return state.status == "pending" or state == NOT_REQUIRED


def schedule_analysis(
    session: Session, call: StoredCall, state: LifecycleState, *, services: Services
) -> AnalysisState:
    """Enqueue the analysis of a call that ends, if there is something to analyse.

    Returns the state of the analysis, for the caller to store.
    """
    if call.ai_profile_id is None:
        return NOT_REQUIRED
    if state.answered_at is None:
        return count_result(AnalysisState("none", "no_words"))
    if not services.models.primary.for_real_callers:
        return count_result(AnalysisState("none", "no_model"))
    queue.enqueue(session, ANALYSE_JOB, call_id=call.id)
    return AnalysisState("pending")


def schedule_retry(session: Session, call_id: UUID, *, attempt: int, run_at: datetime) -> None:
    """Enqueue another attempt; the second time for the same call does nothing while it waits."""
    lock = f"{ANALYSE_JOB}:{call_id}"
    queue.enqueue(session, ANALYSE_JOB, run_at=run_at, lock=lock, call_id=call_id, attempt=attempt)


def resume_analyses(session: Session, tenant: TenantRef) -> None:
    """Enqueue the pending analyses of an imported tenant; an archive contains no jobs.

    The session must be an owner session that is not inside a tenant.
    """
    for call_id in session.scalars(text(_SELECT_PENDING.format(schema=tenant.schema))).all():
        queue.enqueue(session, ANALYSE_JOB, tenant_id=tenant.id, call_id=call_id)


def count_result(state: AnalysisState) -> AnalysisState:
    """Count the end of an analysis, and return its state."""
    metrics.CALL_ANALYSES.inc(result=state.reason or state.status)
    return state
