"""The audio of calls and voicemail: fetched from the carrier, stored, and deleted in time.

- `service`: what the call features use.
- `carrier_fetch`, `retention` and `storage_metering`: what the jobs do.
- `media`: audio types and storage keys.
- `http_delivery`: the HTTP response with the audio.
"""
