"""The types of webhook events, in the past tense."""

CALL_EVENTS = (
    "call.started",
    "call.answered",
    "call.ended",
    "call.transfer_completed",
    "call.transfer_failed",
    "call.recording_ready",
    "call.analysed",
)
TENANT_EVENTS = ("tenant.suspended", "tenant.activated", "tenant.deleted")
EVENT_TYPES = (
    *CALL_EVENTS,
    "message.taken",
    "phone_number.registered",
    "phone_number.failed",
    *TENANT_EVENTS,
    "usage.threshold_reached",
    "webhook.disabled",
)
# Sent to a single webhook, when its owner requests it.
TEST_EVENT = "webhook.test"
