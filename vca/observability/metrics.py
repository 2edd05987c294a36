"""Every metric of the product, in one place. None has a label that names a tenant.

To add one, declare it here and count where the event happens. If an operator should be notified,
add an alert to `ops/alerts.yml` and its cases to `ops/alerts.test.yml`.
"""

from dataclasses import dataclass

from vca.observability.prometheus import BOOL_VALUES, OTHER, Counter, Histogram

CARRIERS = ("fake", "twilio", "telnyx", "asterisk")
# A client may send any method, so `other` is one of the values.
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", OTHER)
STATUS_CLASSES = ("1xx", "2xx", "3xx", "4xx", "5xx")
STAGES = ("model_first_token", "model", "database", "total")
OUTCOMES = ("done", "failed", "rescued")
DIRECTIONS = ("inbound", "outbound")
ATTEMPTS = ("delivered", "refused", "unreachable")
RATE_LIMITS = ("key", "tenant", "address")
DISABLED_REASONS = ("gone", "failing")
OWNERS = ("tenant", "operator")
# What a decision webhook wants, or why it has no say.
DECISIONS = ("answer", "reject", "forward", "refused", "invalid", "unreachable", "skipped")
# As the API's vocabulary has them.
END_REASONS = (
    "caller_hangup",
    "agent_hangup",
    "api_hangup",
    "transferred",
    "voicemail",
    "max_duration",
    "max_turns",
    "token_limit",
    "silence",
    "closed",
    "concurrency_limit",
    "spend_cap",
    "tenant_suspended",
    "number_inactive",
    "declined",
    "busy",
    "no_answer",
    "cancelled",
    "invalid_number",
    "model_error",
    "carrier_error",
    "lost",
)
# The codes of the policy for outbound calls.
DIALLING_REFUSALS = (
    "frozen",
    "invalid_number",
    "emergency_number",
    "own_number",
    "number_type",
    "country",
    "per_minute",
    "per_day",
)
# The names of all jobs. A job that another version of the code enqueued counts as `other`.
TASKS = (
    "calls.analyse",
    "calls.check",
    "calls.dial",
    "calls.forget",
    "calls.forget_payloads",
    "idempotency.sweep",
    "jobs.rescue",
    "messages.mail",
    "phone_numbers.check",
    "phone_numbers.count",
    "phone_numbers.leave",
    "phone_numbers.register",
    "phone_numbers.unregister",
    "privacy.erase",
    "privacy.expire",
    "privacy.export",
    "privacy.reapply",
    "recordings.count",
    "recordings.fetch",
    "recordings.sweep",
    "webhooks.deliver",
    "webhooks.deliver_to_operator",
    "webhooks.forget",
    "webhooks.tell",
    OTHER,
)
MODEL_FAILURES = ("timeout", "rate_limited", "refused", "unavailable", "bad_answer")

# What somebody who waits on the telephone notices: half a second, one, two.
_TURN_BUCKETS = (0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 20.0)
_REQUEST_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0)
_POOL_BUCKETS = (0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 2.0)

CALLS_BEGUN = Counter(
    "vca_calls_begun_total",
    "Calls that rang here or that were dialled from here.",
    {"direction": DIRECTIONS, "carrier": CARRIERS, "simulated": BOOL_VALUES},
)
CALLS_ENDED = Counter(
    "vca_calls_ended_total",
    "Calls that are over, and why.",
    {"end_reason": END_REASONS, "carrier": CARRIERS, "simulated": BOOL_VALUES},
)
TURN_SECONDS = Histogram(
    "vca_turn_seconds",
    "How long the answer to what a caller said took, by stage.",
    {"stage": STAGES},
    buckets=_TURN_BUCKETS,
)
MODEL_FAILURES_TOTAL = Counter(
    "vca_model_failures_total",
    "Answers that the language model did not give.",
    {"failure": MODEL_FAILURES},
)
DIALLING_REFUSED = Counter(
    "vca_dialling_refused_total",
    "Outbound calls that were refused before anybody was dialled, by the error's code.",
    {"code": DIALLING_REFUSALS},
)
SIGNATURE_FAILURES = Counter(
    "vca_signature_failures_total",
    "Requests in a carrier's name with a missing or wrong signature.",
    {"carrier": CARRIERS},
)
RELAY_REFUSED = Counter(
    "vca_relay_refused_total",
    "Sockets in a carrier's name that were of no call of ours, or not any more.",
    {"carrier": CARRIERS},
)
RELAY_FRAMES_IGNORED = Counter(
    "vca_relay_frames_ignored_total",
    "Frames of carriers' sockets that mean nothing to us.",
)
ISOLATION_ALARMS = Counter(
    "vca_isolation_alarms_total",
    "Transactions that were not in their tenant's schema; nothing was read or written.",
)
POOL_WAIT_SECONDS = Histogram(
    "vca_pool_wait_seconds",
    "How long work waited for a connection to the database.",
    buckets=_POOL_BUCKETS,
)
HTTP_REQUESTS = Counter(
    "vca_http_requests_total",
    "HTTP requests that were answered.",
    {"method": METHODS, "status_class": STATUS_CLASSES},
)
HTTP_REQUEST_SECONDS = Histogram(
    "vca_http_request_seconds",
    "How long answering an HTTP request took.",
    buckets=_REQUEST_BUCKETS,
)
JOBS = Counter(
    "vca_jobs_total",
    "Attempts at jobs; `rescued` jobs were taken from a worker that died.",
    {"task": TASKS, "outcome": OUTCOMES},
)
WEBHOOK_ATTEMPTS = Counter(
    "vca_webhook_attempts_total",
    "Events that were sent to webhooks: `refused` were answered with another status than 2xx.",
    {"outcome": ATTEMPTS},
)
WEBHOOKS_DISABLED = Counter(
    "vca_webhooks_disabled_total",
    "Webhooks that were given up, since they answered 410 or nothing but failures for five days.",
    {"reason": DISABLED_REASONS, "whose": OWNERS},
)
RATE_LIMITED = Counter(
    "vca_rate_limited_total",
    "Requests that were refused as too many, by the limit that they met.",
    {"limit": RATE_LIMITS},
)
DECISIONS_TOTAL = Counter(
    "vca_decision_webhooks_total",
    "Calls that a decision webhook was to decide about: its decision, or why it made none.",
    {"outcome": DECISIONS},
)
DECISION_SECONDS = Histogram(
    "vca_decision_webhook_seconds",
    "How long a caller waited for the answer of a decision webhook.",
    buckets=_REQUEST_BUCKETS,
)


@dataclass(frozen=True)
class Gauge:
    """A gauge that is read from the database whenever somebody asks."""

    name: str
    help: str
    labels: tuple[str, ...] = ()


DATABASE_UP = Gauge("vca_database_up", "1 while the database answers, else 0.")
LIVE_CALLS = Gauge("vca_live_calls", "Calls that are not over, by the jobs that watch them.")
OLDEST_DUE_JOB_SECONDS = Gauge(
    "vca_oldest_due_job_seconds", "How long the oldest job that is due has waited for a worker."
)
FAILED_REGISTRATIONS = Gauge(
    "vca_failed_registrations", "Numbers whose registration at their carrier has failed."
)
TENANTS_BEHIND_HEAD = Gauge(
    "vca_tenants_behind_head", "Tenants whose schema is behind the revision of this code."
)
TENANTS = Gauge("vca_tenants", "Tenants, by status.", ("status",))
