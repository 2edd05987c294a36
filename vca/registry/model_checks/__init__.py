"""The last check of each language model: what its server accepts, or why it cannot answer.

Processes share the results, so that a deployment checks a model once and not once for each process.
"""
