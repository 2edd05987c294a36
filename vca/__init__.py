"""VCA, the backend of a voice-AI-agent platform. Each package's docstring says what it owns.

app → (api | servers | devtools) → tenant → registry → (telephony | conversation | tenancy)
→ cli → (jobs | audit) → observability → settings → kit
"""

__version__ = "0.1.0"
