"""Privacy requests: export or erase the data of one person, identified by a telephone number.

- `data_subject`: the number and all spellings of it in texts.
- `data_export`: writes them to a file.
- `erasure`: removes them, and the number from all texts.
- `text_search`: finds the number in all texts of a tenant.
- `erasure_ledger`: a record of erasures outside the database.
- `re_erasure`: repeats the recorded erasures after a restore.

Any feature can hold personal data. What each of them exports and erases is in its `lifecycle.py`.
The calls and messages of the person come from `calls.core.subject_records`.
"""
