"""Tools without product nouns: configuration, database, errors, JSON, logs, jobs, web helpers.

Imports nothing else of VCA. To add a setting: a field in `config.py` and a line in `.env.example`.
"""
