"""The audio of calls and voicemail: fetched from the carrier, kept in a store, deleted in time.

`service` is what calls use, `fetching` and `retention` are what the jobs do, `audio` says what is
kept and where, `delivery` answers with it.
"""
