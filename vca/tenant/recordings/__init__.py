"""The audio of calls and voicemail: fetched from the carrier, kept in a store, deleted in time."""
