"""A call's tables and what changes with them: state, events, metering and retention."""
