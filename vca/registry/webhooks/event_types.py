"""What can be told, in the past tense."""

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
# Sent to one endpoint alone, by its owner's wish.
TEST_EVENT = "webhook.test"
