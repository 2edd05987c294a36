"""VCA, the backend of a voice-AI-agent platform; each room's docstring says what it owns.

app → (api | serve) → tenant → registry → (telephony | conversation | tenancy) → kit
"""

__version__ = "0.1.0"
