"""What callers left for the tenant: messages that the agent took, and voicemail."""
