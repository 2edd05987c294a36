"""What a tenant keeps of one person: given out as one file, or erased, and erased again.

A person is a number (`subject`). `finding` says what is theirs, `exporting` gives it out, `erasing`
removes it with the help of `recorded` and `mentions`; `ledger` outlives the database, and
`reapplying` goes by it after a restore. Imports every feature below, since people are everywhere.
"""
