"""Privacy requests: export or erase the data of one person, identified by a telephone number.

- `data_subject`: the number and all spellings of it in texts.
- `subject_records`: the calls and messages of the person.
- `data_export`: writes them to a file.
- `erasure`: removes them, with the help of `call_erasure` and `text_search`.
- `erasure_ledger`: a record of erasures outside the database.
- `re_erasure`: repeats the recorded erasures after a restore.

This package imports every feature below it, because any of them can hold personal data.
"""
