"""Hostile values for the fields of a request body, by name: texts, and raw JSON.

The names are parts of test ids, so they are unique within a table and do not change.
"""

from collections.abc import Mapping
from typing import Any

from vca.kit import json

VALID_UUID = "3f0c8f5e-7c1b-4a52-9d1e-2b8f6a4d9c10"

TEXTS = {
    "empty": "",
    "blank": "   ",
    "line-ends": "\r\n\t",
    "300-characters": "x" * 300,
    "20001-characters": "y" * 20_001,
    "200-kb": "z" * 200_000,
    "control-characters": "a\x01\x08\x1b[31m\x7f",
    "line-separator": "a\u2028b\u2029c",
    "right-to-left": "abc\u202edcba\u202c",
    "byte-order-mark": "\ufeffabc",
    "zero-width": "a\u200b\u200d\u2060b",
    "non-character": "a\uffffb",
    "combining": "Z" + "\u0335" * 200,
    "astral": "\U0001f4de\U0010ffff",
    "arabic-number": "+\u0661\u0664\u0661\u0665\u0665\u0665\u0665\u0660\u0661\u0660\u0660",
    "full-width-number": "\uff0b\uff11\uff14\uff11\uff15\uff15\uff15\uff15\uff10\uff11\uff10",
    "sql-drop": "'; DROP TABLE calls; --",
    "sql-always": "' OR '1'='1",
    "sql-union": "x' UNION SELECT key_hash::text FROM public.api_keys --",
    "sql-sleep": "1; SELECT pg_sleep(30)",
    "sql-quoted": '"; SET search_path TO public; --',
    "sql-path": "t_acme, public",
    "sql-dollar": "$$; DELETE FROM turns; $$",
    "sql-like": "%_%\\",
    "format-percent": "%s%s%n%(tenant_id)s",
    "format-braces": "{0.__class__.__mro__}{}",
    "template": "{{7*7}}${7*7}<%= 7*7 %>#{7*7}",
    "jndi": "${jndi:ldap://127.0.0.1/x}",
    "path": "../../../../etc/passwd",
    "markup": "<script>alert(1)</script><!--",
    "header": "x\r\nSet-Cookie: a=b\r\n\r\n",
    "json-in-a-string": '{"id": 1}',
    "a-number": "7",
    "a-boolean": "true",
    "a-null": "null",
    "not-a-number": "NaN",
    "a-shell": "$(reboot)`reboot`|reboot",
}

UUIDS = {
    "uuid-in-braces": f"{{{VALID_UUID}}}",
    "uuid-as-urn": f"urn:uuid:{VALID_UUID}",
    "uuid-without-hyphens": VALID_UUID.replace("-", ""),
    "uuid-as-0x": f"0x{VALID_UUID.replace('-', '')[2:]}",
    "uuid-with-an-arabic-digit": VALID_UUID[:-1] + "\u0663",
    "uuid-in-capitals": VALID_UUID.upper(),
    "uuid-nil": "00000000-0000-0000-0000-000000000000",
    "uuid-cut": VALID_UUID[:-1],
}

TIMES = {
    "time-year-0": "0000-01-01T00:00:00Z",
    "time-year-1": "0001-01-01T00:00:00+14:00",
    "time-year-9999": "9999-12-31T23:59:59-14:00",
    "time-year-10000": "10000-01-01T00:00:00Z",
    "time-no-offset": "2030-01-01T00:00:00",
    "time-a-date": "2030-01-01",
    "time-30-february": "2030-02-30T00:00:00Z",
    "time-hour-25": "2030-01-01T25:00:00Z",
    "time-leap-second": "2030-06-30T23:59:60Z",
    "time-far-offset": "2030-01-01T00:00:00+23:59",
    "time-odd-offset": "2030-01-01T00:00:00+05:30:15.000001",
    "time-basic": "20300101T000000Z",
    "time-a-week": "2030-W01-1T00:00:00Z",
    "time-infinity": "infinity",
    "time-now": "now",
    "time-arabic": "\u0662\u0660\u0663\u0660-01-01T00:00:00Z",
}

NUMBERS = {
    "number-spaces": "+1 415 555 0100",
    "number-extension": "+14155550100;ext=9",
    "number-tel": "tel:+14155550100",
    "number-line-end": "+14155550100\n",
    "number-no-plan": "+10000000000",
    "number-long": "+1" + "4" * 200,
    "number-dashes": "-" * 250,
    "number-letters": "+1800FLOWERS",
}

# Texts for fields that take no free text.
BASIC_TEXTS = ("empty", "300-characters", "200-kb", "sql-drop", "a-number", "a-boolean", "a-null")

# For every field that is parsed in its own way.
JSON = {
    "null": "null",
    "true": "true",
    "false": "false",
    "zero": "0",
    "minus-one": "-1",
    "a-half": "0.5",
    "seven-point-zero": "7.0",
    "above-int32": "2147483648",
    "below-int32": "-2147483649",
    "int64-max": "9223372036854775807",
    "empty-list": "[]",
    "list-of-null": "[null]",
    "list-of-lists": "[[[]]]",
    "empty-object": "{}",
    "nested-object": '{"a": {"b": {"c": {}}}}',
    "proto-key": '{"__proto__": {"is_admin": true}, "constructor": {"prototype": {}}}',
    "empty-key": '{"": 1}',
    **{name: json.dumps(TEXTS[name]).decode() for name in BASIC_TEXTS},
}

# The JSON parser refuses these texts before any field sees them. Tests send them in one field of
# each operation and in one field of each schema.
UNREADABLE = {
    "above-int64": "9223372036854775808",
    "int64-min": "-9223372036854775808",
    "5000-digits": "9" * 5_000,
    "1e999": "1e999",
    "nan": "NaN",
    "infinity": "Infinity",
    "minus-infinity": "-Infinity",
    "nul-byte": '"a\\u0000b"',
    "high-surrogate": '"\\ud800"',
    "low-surrogate": '"\\udc00"',
    "list-with-nul-byte": '["a", ["\\u0000"]]',
    "duplicate-keys": '{"a": 1, "a": 2}',
    "nul-byte-in-a-key": '{"a\\u0000": 1}',
    "surrogate-in-a-key": '{"\\ud800": 1}',
    "depth-33": "[" * 33 + "]" * 33,
    "depth-3000": "[" * 3_000 + "]" * 3_000,
    "no-value": "",
    "undefined": "undefined",
}

# For every field that shares its schema with another field: the worst of the above.
WORST = (
    "null",
    "true",
    "minus-one",
    "int64-max",
    "empty-list",
    "list-of-null",
    "empty-object",
    "nested-object",
    "empty",
    "200-kb",
    "sql-drop",
    "a-number",
)

# For the first field of each name and schema only: other operations parse the same field alike.
JSON_ONCE = {
    "minus-zero": "-0.0",
    "seven-e-zero": "7e0",
    "int32-max": "2147483647",
    "20-digits": "9" * 20,
    "5000-decimals": "0." + "9" * 5_000,
    "minus-1e999": "-1e999",
    "1e-999": "1e-999",
    "surrogates-reversed": '"\\udc00\\ud800"',
    "raw-surrogate": '"\ud800"',
    "raw-control-character": '"a\x01b"',
    "bad-escape": '"\\x41"',
    "list-of-strings": '["end_call", "end_call"]',
    "4000-items": "[" + ",".join(["1"] * 4_000) + "]",
    "nul-byte-inside": '{"const": "a\\u0000b"}',
    "surrogate-inside": '{"const": ["\\ud800"]}',
    "nan-inside": '{"const": NaN}',
    "1e999-inside": '{"const": [1e999]}',
    "above-int64-inside": '{"const": {"a": 9223372036854775808}}',
    "operator": '{"$gt": "", "$where": "1"}',
    "long-key": '{"' + "k" * 50_000 + '": 1}',
    "1000-keys": "{" + ",".join(f'"key{number}": 1' for number in range(1_000)) + "}",
    "depth-100000": "[" * 100_000 + "]" * 100_000,
    "objects-3000-deep": '{"a":' * 3_000 + "1" + "}" * 3_000,
    "schema-not-a-type": '{"type": 5}',
    "schema-bad-pattern": '{"pattern": "("}',
    "schema-pattern-too-deep": '{"pattern": "' + "(" * 2_000 + ")" * 2_000 + '"}',
    "schema-pattern-repeated-too-often": '{"pattern": "a{99999999999999999999}"}',
    "schema-foreign-reference": '{"$ref": "http://127.0.0.1:1/x", "$schema": "http://127.0.0.1:1/y"}',
    "schema-29-deep": '{"not":' * 29 + "{}" + "}" * 29,
    "comment": "1 /* comment */",
    "single-quotes": "'text'",
    "hexadecimal": "0x1F",
    "leading-zero": "007",
    "plus": "+7",
}


def texts(schema: Mapping[str, Any]) -> dict[str, str]:
    """Return the texts that a field with this schema might accept by mistake."""
    if schema.get("type") != "string" or "enum" in schema:
        return {}
    if schema.get("format") == "uuid":
        return UUIDS
    if schema.get("format") == "date-time":
        return TIMES
    extra_texts = {}
    if "pattern" in schema:  # Python's `$` would match before a trailing newline
        extra_texts["example-and-newline"] = f"{schema['example']}\n"
    if schema.get("pattern", "").startswith("^\\+"):
        extra_texts |= NUMBERS
    return {**extra_texts, **TEXTS}
