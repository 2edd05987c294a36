"""All metrics of the product. No label names a tenant.

To add a metric, declare it here and count where the event happens. If an operator should be
notified, add an alert to `ops/alerts.yml` and its cases to `ops/alerts.test.yml`.
"""

from dataclasses import dataclass

from vca.kit.postgres_errors import BUSY_STATES, OUTAGE_REASONS
from vca.observability.prometheus import BOOL_VALUES, OTHER, Counter, Histogram, ProcessGauge

CARRIERS = ("fake", "twilio", "telnyx", "asterisk")
# A client may send any method, so `other` is one of the values.
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", OTHER)
STATUS_CLASSES = ("1xx", "2xx", "3xx", "4xx", "5xx")
STAGES = ("model_first_token", "model", "database", "total")
OUTCOMES = ("done", "failed", "rescued")
DIRECTIONS = ("inbound", "outbound")
ATTEMPTS = ("delivered", "refused", "unreachable")
MAIL_OUTCOMES = ("sent", "deferred", "failed")
RATE_LIMITS = ("key", "tenant", "address")
# What a process admits: requests to its threads, and within them slow bodies of keys and of
# carriers, slow readers of responses, and operations that call other systems.
ADMISSIONS = ("requests", "slow_bodies", "carrier_bodies", "slow_responses", "calling_out")
DISABLED_REASONS = ("gone", "failing")
OWNERS = ("tenant", "operator")
# The decision of a decision webhook, or why there is none.
DECISIONS = ("answer", "reject", "forward", "refused", "invalid", "unreachable", "skipped")
# The end reasons of the API.
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
    "abandoned",
)
# The error codes of the dialling policy.
DIALLING_REFUSALS = (
    "frozen",
    "suspended",
    "invalid_number",
    "emergency_number",
    "own_number",
    "number_type",
    "country",
    "home_country_needed",
    "per_minute",
    "per_day",
)
# The reasons of `refused_tools` in the API.
TOOL_REFUSALS = ("unknown_tool", "not_allowed", "unknown_target", "bad_arguments", "too_many")
# `done`, or the reason of `analysis` in the API.
ANALYSIS_RESULTS = ("done", "no_model", "no_words", "model_failed", "bad_answer", "forgotten")
MODEL_FAILURES = ("timeout", "rate_limited", "refused", "unavailable", "bad_answer")

# Callers notice delays of half a second, one and two seconds, so the buckets are narrow there.
_TURN_BUCKETS = (0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 20.0)
_REQUEST_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0)
_POOL_BUCKETS = (0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 2.0)

CALLS_BEGUN = Counter(
    "vca_calls_begun_total",
    "Calls that started, inbound and outbound.",
    {"direction": DIRECTIONS, "carrier": CARRIERS, "simulated": BOOL_VALUES},
)
CALLS_ENDED = Counter(
    "vca_calls_ended_total",
    "Calls that ended, by reason.",
    {"end_reason": END_REASONS, "carrier": CARRIERS, "simulated": BOOL_VALUES},
)
TURN_SECONDS = Histogram(
    "vca_turn_seconds",
    "Time from a caller's utterance to the response, by stage.",
    {"stage": STAGES},
    buckets=_TURN_BUCKETS,
)
MODEL_FAILURES_TOTAL = Counter(
    "vca_model_failures_total",
    "Failed requests to the language model.",
    {"failure": MODEL_FAILURES},
)
TOOLS_REFUSED = Counter(
    "vca_tools_refused_total",
    "Tool calls of language models that were not executed, by reason.",
    {"reason": TOOL_REFUSALS},
)
CALL_ANALYSES = Counter(
    "vca_call_analyses_total",
    "Post-call analyses that ended, by result: done, or the reason why there is none.",
    {"result": ANALYSIS_RESULTS},
)
DIALLING_REFUSED = Counter(
    "vca_dialling_refused_total",
    "Outbound calls that were rejected before dialling, by error code.",
    {"code": DIALLING_REFUSALS},
)
SIGNATURE_FAILURES = Counter(
    "vca_signature_failures_total",
    "Carrier webhooks with a missing or invalid signature.",
    {"carrier": CARRIERS},
)
RELAY_REFUSED = Counter(
    "vca_relay_refused_total",
    "Voice WebSockets and handshakes without a token of a live call.",
    {"carrier": CARRIERS},
)
RELAY_RECONNECTS = Counter(
    "vca_relay_reconnects_total",
    "Connections with which a carrier replaced a lost one of a live call.",
    {"carrier": CARRIERS},
)
RELAY_FRAMES_IGNORED = Counter(
    "vca_relay_frames_ignored_total",
    "Frames of voice WebSockets that were ignored as unknown.",
)
ISOLATION_ALARMS = Counter(
    "vca_isolation_alarms_total",
    "Transactions that failed the schema identity check; nothing was read or written.",
)
POOL_WAIT_SECONDS = Histogram(
    "vca_pool_wait_seconds",
    "Time spent waiting for a database connection.",
    buckets=_POOL_BUCKETS,
)
DATABASE_TIMEOUTS = Counter(
    "vca_database_timeouts_total",
    "Requests and jobs that ended because of a timeout of the database, by SQLSTATE: 57014 for"
    " statements, 55P03 for locks, 25P03 for idle transactions.",
    {"sqlstate": BUSY_STATES},
)
DATABASE_OUTAGES = Counter(
    "vca_database_outages_total",
    "Openings of the circuit breaker of a process, by reason.",
    {"reason": OUTAGE_REASONS},
)
HTTP_REQUESTS = Counter(
    "vca_http_requests_total",
    "HTTP requests handled.",
    {"method": METHODS, "status_class": STATUS_CLASSES},
)
HTTP_REQUEST_SECONDS = Histogram(
    "vca_http_request_seconds",
    "Duration of HTTP requests.",
    buckets=_REQUEST_BUCKETS,
)
# The app adds the names of its tasks. A job that another release enqueued counts as `other`.
JOBS = Counter(
    "vca_jobs_total",
    "Job attempts; `rescued` jobs were taken over from a worker that died.",
    {"task": ("jobs.rescue", OTHER), "outcome": OUTCOMES},
)
WEBHOOK_ATTEMPTS = Counter(
    "vca_webhook_attempts_total",
    "Webhook delivery attempts; `refused` means a response status other than 2xx.",
    {"outcome": ATTEMPTS},
)
WEBHOOKS_DISABLED = Counter(
    "vca_webhooks_disabled_total",
    "Webhooks that were disabled after a 410 response or five days of failures.",
    {"reason": DISABLED_REASONS, "whose": OWNERS},
)
MAILS = Counter(
    "vca_mails_total",
    "Attempts to mail a message; `deferred` attempts are repeated, and `failed` ones are the last.",
    {"outcome": MAIL_OUTCOMES},
)
RATE_LIMITED = Counter(
    "vca_rate_limited_total",
    "Requests rejected by a rate limit, by limit.",
    {"limit": RATE_LIMITS},
)
ADMISSIONS_REFUSED = Counter(
    "vca_admissions_refused_total",
    "Requests that were refused because all threads for their kind were in use.",
    {"admission": ADMISSIONS},
)
ADMISSIONS_IN_USE = ProcessGauge(
    "vca_admissions_in_use",
    "Threads in use, by the kind of request that they are for.",
    {"admission": ADMISSIONS},
)
DECISIONS_TOTAL = Counter(
    "vca_decision_webhooks_total",
    "Calls with a decision webhook, by its decision or the reason why there was none.",
    {"outcome": DECISIONS},
)
DECISION_SECONDS = Histogram(
    "vca_decision_webhook_seconds",
    "Response time of decision webhooks.",
    buckets=_REQUEST_BUCKETS,
)


@dataclass(frozen=True)
class Gauge:
    """A gauge whose value is read from the database at each scrape."""

    name: str
    help: str
    labels: tuple[str, ...] = ()


DATABASE_UP = Gauge("vca_database_up", "1 if the database responds, otherwise 0.")
LIVE_CALLS = Gauge("vca_live_calls", "Live calls, counted by the jobs that monitor them.")
OLDEST_DUE_JOB_SECONDS = Gauge(
    "vca_oldest_due_job_seconds",
    "Time that the oldest due job has waited, of tenants without a running job in its lane.",
)
LANE_DUE_JOBS = Gauge("vca_lane_due_jobs", "Due jobs that wait for a slot, by lane.", ("lane",))
LANE_RUNNING_JOBS = Gauge("vca_lane_running_jobs", "Running jobs by lane.", ("lane",))
LANE_OLDEST_DUE_JOB_SECONDS = Gauge(
    "vca_lane_oldest_due_job_seconds",
    "Time that the oldest due job of a lane has waited, of tenants without a running job there.",
    ("lane",),
)
PENDING_MAILS = Gauge("vca_pending_mails", "Mails about messages that were not accepted yet.")
FAILED_REGISTRATIONS = Gauge(
    "vca_failed_registrations", "Phone numbers whose registration with the carrier failed."
)
TENANTS_BEHIND_HEAD = Gauge(
    "vca_tenants_behind_head", "Tenants whose schema is behind the revision of this release."
)
MODEL_READY = Gauge(
    "vca_model_ready",
    "0 if the last check of the language model failed, otherwise 1.",
    ("model",),
)
TENANTS = Gauge("vca_tenants", "Tenants by status.", ("status",))
