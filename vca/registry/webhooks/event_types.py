"""What can be told, in the past tense."""

CALLS = (
    "call.started",
    "call.answered",
    "call.ended",
    "call.transfer_completed",
    "call.transfer_failed",
    "call.recording_ready",
    "call.analysed",
)
TENANTS = ("tenant.suspended", "tenant.activated", "tenant.deleted")
EVENT_TYPES = (
    *CALLS,
    "message.taken",
    "phone_number.registered",
    "phone_number.failed",
    *TENANTS,
    "usage.threshold_reached",
    "webhook.disabled",
)
# Sent to one endpoint alone, by its owner's wish.
TEST = "webhook.test"
