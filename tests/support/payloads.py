"""Hostile values for requests: raw JSON texts, raw query values, raw headers."""

from collections.abc import Mapping
from typing import Any

from vca.kit import json

_VALID_UUID = "3f0c8f5e-7c1b-4a52-9d1e-2b8f6a4d9c10"

TEXTS = {
    "empty": "",
    "blank": "   ",
    "line ends": "\r\n\t",
    "300 characters": "x" * 300,
    "20,001 characters": "y" * 20_001,
    "200 kB": "z" * 200_000,
    "control characters": "a\x01\x08\x1b[31m\x7f",
    "line separator": "a\u2028b\u2029c",
    "right to left": "abc\u202edcba\u202c",
    "byte order mark": "\ufeffabc",
    "zero width": "a\u200b\u200d\u2060b",
    "non-character": "a\uffffb",
    "combining": "Z" + "\u0335" * 200,
    "astral": "\U0001f4de\U0010ffff",
    "Arabic number": "+\u0661\u0664\u0661\u0665\u0665\u0665\u0665\u0660\u0661\u0660\u0660",
    "full-width number": "\uff0b\uff11\uff14\uff11\uff15\uff15\uff15\uff15\uff10\uff11\uff10",
    "SQL: drop": "'; DROP TABLE calls; --",
    "SQL: always": "' OR '1'='1",
    "SQL: union": "x' UNION SELECT key_hash::text FROM public.api_keys --",
    "SQL: sleep": "1; SELECT pg_sleep(30)",
    "SQL: quoted": '"; SET search_path TO public; --',
    "SQL: path": "t_acme, public",
    "SQL: dollar": "$$; DELETE FROM turns; $$",
    "SQL: like": "%_%\\",
    "format: percent": "%s%s%n%(tenant_id)s",
    "format: braces": "{0.__class__.__mro__}{}",
    "template": "{{7*7}}${7*7}<%= 7*7 %>#{7*7}",
    "JNDI": "${jndi:ldap://127.0.0.1/x}",
    "path": "../../../../etc/passwd",
    "markup": "<script>alert(1)</script><!--",
    "header": "x\r\nSet-Cookie: a=b\r\n\r\n",
    "JSON in a string": '{"id": 1}',
    "a number": "7",
    "a boolean": "true",
    "a null": "null",
    "not a number": "NaN",
    "a shell": "$(reboot)`reboot`|reboot",
}

UUIDS = {
    "UUID in braces": f"{{{_VALID_UUID}}}",
    "UUID as URN": f"urn:uuid:{_VALID_UUID}",
    "UUID without hyphens": _VALID_UUID.replace("-", ""),
    "UUID as 0x": f"0x{_VALID_UUID.replace('-', '')[2:]}",
    "UUID with an Arabic digit": _VALID_UUID[:-1] + "\u0663",
    "UUID in capitals": _VALID_UUID.upper(),
    "UUID nil": "00000000-0000-0000-0000-000000000000",
    "UUID cut": _VALID_UUID[:-1],
}

TIMES = {
    "time: year 0": "0000-01-01T00:00:00Z",
    "time: year 1": "0001-01-01T00:00:00+14:00",
    "time: year 9999": "9999-12-31T23:59:59-14:00",
    "time: year 10000": "10000-01-01T00:00:00Z",
    "time: no offset": "2030-01-01T00:00:00",
    "time: a date": "2030-01-01",
    "time: 30 February": "2030-02-30T00:00:00Z",
    "time: hour 25": "2030-01-01T25:00:00Z",
    "time: leap second": "2030-06-30T23:59:60Z",
    "time: far offset": "2030-01-01T00:00:00+23:59",
    "time: odd offset": "2030-01-01T00:00:00+05:30:15.000001",
    "time: basic": "20300101T000000Z",
    "time: a week": "2030-W01-1T00:00:00Z",
    "time: infinity": "infinity",
    "time: now": "now",
    "time: Arabic": "\u0662\u0660\u0663\u0660-01-01T00:00:00Z",
}

NUMBERS = {
    "number: spaces": "+1 415 555 0100",
    "number: extension": "+14155550100;ext=9",
    "number: tel": "tel:+14155550100",
    "number: line end": "+14155550100\n",
    "number: no plan": "+10000000000",
    "number: long": "+1" + "4" * 200,
    "number: dashes": "-" * 250,
    "number: letters": "+1800FLOWERS",
}

# Texts for fields that take no free text.
BASIC_TEXTS = ("empty", "300 characters", "200 kB", "SQL: drop", "a number", "a boolean", "a null")

# For every field that is parsed in its own way.
JSON = {
    "null": "null",
    "true": "true",
    "false": "false",
    "zero": "0",
    "minus one": "-1",
    "a half": "0.5",
    "seven point nought": "7.0",
    "2**31": "2147483648",
    "-2**31 - 1": "-2147483649",
    "2**63 - 1": "9223372036854775807",
    "empty list": "[]",
    "list of null": "[null]",
    "list of lists": "[[[]]]",
    "empty object": "{}",
    "nested object": '{"a": {"b": {"c": {}}}}',
    "__proto__": '{"__proto__": {"is_admin": true}, "constructor": {"prototype": {}}}',
    "empty key": '{"": 1}',
    **{name: json.dumps(TEXTS[name]).decode() for name in BASIC_TEXTS},
}

# The JSON parser refuses these texts before any field sees them. Tests send them in one field of
# each operation and in one field of each schema.
UNREADABLE = {
    "2**63": "9223372036854775808",
    "-2**63": "-9223372036854775808",
    "5,000 digits": "9" * 5_000,
    "1e999": "1e999",
    "NaN": "NaN",
    "Infinity": "Infinity",
    "-Infinity": "-Infinity",
    "NUL": '"a\\u0000b"',
    "high surrogate": '"\\ud800"',
    "low surrogate": '"\\udc00"',
    "list with NUL": '["a", ["\\u0000"]]',
    "duplicate keys": '{"a": 1, "a": 2}',
    "NUL in a key": '{"a\\u0000": 1}',
    "surrogate in a key": '{"\\ud800": 1}',
    "depth 33": "[" * 33 + "]" * 33,
    "depth 3,000": "[" * 3_000 + "]" * 3_000,
    "nothing": "",
    "undefined": "undefined",
}

# For every field that shares its schema with another field: the worst of the above.
WORST = (
    "null",
    "true",
    "minus one",
    "2**63 - 1",
    "empty list",
    "list of null",
    "empty object",
    "nested object",
    "empty",
    "200 kB",
    "SQL: drop",
    "a number",
)

# For the first field of each name and schema only: other operations parse the same field alike.
JSON_ONCE = {
    "minus zero": "-0.0",
    "seven e nought": "7e0",
    "2**31 - 1": "2147483647",
    "20 digits": "9" * 20,
    "5,000 decimals": "0." + "9" * 5_000,
    "-1e999": "-1e999",
    "1e-999": "1e-999",
    "surrogates reversed": '"\\udc00\\ud800"',
    "raw surrogate": '"\ud800"',
    "raw control character": '"a\x01b"',
    "bad escape": '"\\x41"',
    "list of strings": '["end_call", "end_call"]',
    "4,000 items": "[" + ",".join(["1"] * 4_000) + "]",
    "NaN inside": '{"const": NaN}',
    "1e999 inside": '{"const": [1e999]}',
    "2**63 inside": '{"const": {"a": 9223372036854775808}}',
    "operator": '{"$gt": "", "$where": "1"}',
    "long key": '{"' + "k" * 50_000 + '": 1}',
    "1,000 keys": "{" + ",".join(f'"key{number}": 1' for number in range(1_000)) + "}",
    "depth 100,000": "[" * 100_000 + "]" * 100_000,
    "objects 3,000 deep": '{"a":' * 3_000 + "1" + "}" * 3_000,
    "schema: not a type": '{"type": 5}',
    "schema: bad pattern": '{"pattern": "("}',
    "schema: pattern too deep": '{"pattern": "' + "(" * 2_000 + ")" * 2_000 + '"}',
    "schema: pattern too often": '{"pattern": "a{99999999999999999999}"}',
    "schema: elsewhere": '{"$ref": "http://127.0.0.1:1/x", "$schema": "http://127.0.0.1:1/y"}',
    "schema: 29 deep": '{"not":' * 29 + "{}" + "}" * 29,
    "comment": "1 /* comment */",
    "single quotes": "'text'",
    "hexadecimal": "0x1F",
    "leading zero": "007",
    "plus": "+7",
}

# For every query parameter that is parsed in its own way.
QUERY = {
    **{name: TEXTS[name] for name in BASIC_TEXTS},
    "zero": "0",
    "minus one": "-1",
    "101": "101",
    "1e9": "1000000000",
    "1e2": "1e2",
    "2**31": "2147483648",
    "2**63": "9223372036854775808",
    "Arabic 12": "\u0661\u0662",
    "superscript": "\u00b2",
    "trailing blank": "1 ",
    "leading plus": "+1",
    "underscore": "1_0",
    "decimal": "1.0",
    "5,000 digits": "9" * 5_000,
    "yes": "yes",
    "True": "True",
    "1": "1",
    "NUL": "a\x00b",
    "only NUL": "\x00",
    "forged cursor": "eyJhIjoxfQ.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
    "compressed cursor": ".eJyLVnJUitUBAAJWAUU.AAAA",
    "dots": "....",
    "a list": "a,b",
    "8 kB": "q" * 8_000,
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
        extra_texts["example and newline"] = f"{schema['example']}\n"
    if schema.get("pattern", "").startswith("^\\+"):
        extra_texts |= NUMBERS
    return {**extra_texts, **TEXTS}


# Query values as they stand in the URL, with or without percent-encoding.
RAW_QUERY = {
    "not UTF-8": "%ff%fe",
    "overlong": "%c0%ae",
    "surrogate": "%ed%a0%80",
    "bad percent": "%zz%",
    "NUL": "%00",
    "double encoding": "%2500",
    "semicolon": "a;b=c",
    "raw bytes": "\xff\xfe",
    "bracket": "1&limit[]=2",
    "nothing": "",
}

# For every other parameter, and for parameters that no operation has: the worst of the above.
WORST_QUERY = (
    "empty",
    "SQL: drop",
    "a null",
    "zero",
    "minus one",
    "101",
    "2**63",
    "1",
    "True",
    "superscript",
    "leading plus",
    "NUL",
    "forged cursor",
    "a list",
    "8 kB",
)
WORST_RAW_QUERY = ("not UTF-8", "bad percent", "NUL", "bracket")

IDS = {
    "a word": "nobody",
    "empty": "%20",
    "dot": ".",
    "dots": "..",
    "traversal": "..%2f..%2f..%2fetc%2fpasswd",
    "NUL": "%00",
    "NUL after": f"{_VALID_UUID}%00",
    "slash": "a%2fb",
    "backslash": "%5c..%5c",
    "braces": f"%7b{_VALID_UUID}%7d",
    "URN": f"urn:uuid:{_VALID_UUID}",
    "no hyphens": _VALID_UUID.replace("-", ""),
    "cut": _VALID_UUID[:-1],
    "one too long": f"{_VALID_UUID}0",
    "not hexadecimal": "g" + _VALID_UUID[1:],
    "blank after": f"{_VALID_UUID}%20",
    "line end": f"{_VALID_UUID}%0a",
    "header": f"{_VALID_UUID}%0d%0aX-Evil:%201",
    "Arabic digit": f"{_VALID_UUID[:-1]}%d9%a3",
    "SQL": f"{_VALID_UUID}'%20OR%201=1--",
    "not UTF-8": "%ff%fe",
    "number": "1",
    "minus": "-1",
    "null": "null",
    "wildcard": "*",
    "8 kB": "a" * 8_000,
    "semicolon": f"{_VALID_UUID};v=1",
    "nil": "00000000-0000-0000-0000-000000000000",
    "capitals": _VALID_UUID.upper(),
    "unknown": _VALID_UUID,
}

# Whole bodies: (bytes, headers besides Content-Type: application/json, documented status).
_CHUNKED = {"Transfer-Encoding": "chunked"}
BODIES: dict[str, tuple[bytes, dict[str, str], int]] = {
    "empty": (b"", {}, 400),
    "blank": (b"   \n", {}, 400),
    "null": (b"null", {}, 400),
    "a number": (b"7", {}, 400),
    "a string": (b'"text"', {}, 400),
    "a boolean": (b"true", {}, 400),
    "a list": (b"[]", {}, 400),
    "a list of objects": (b"[{}, {}]", {}, 400),
    "NaN": (b"NaN", {}, 400),
    "NUL": (b"\x00", {}, 400),
    "truncated": (b'{"name": "x', {}, 400),
    "truncated after a key": (b'{"name":', {}, 400),
    "trailing comma": (b'{"name": "x",}', {}, 400),
    "trailing text": (b"{} {}", {}, 400),
    "comment": (b"{} // comment", {}, 400),
    "single quotes": (b"{'name': 'x'}", {}, 400),
    "no quotes": (b"{name: 1}", {}, 400),
    "duplicate keys": (b'{"name": "x", "name": "y"}', {}, 400),
    "duplicate keys, escaped": (b'{"name": "x", "n\\u0061me": "y"}', {}, 400),
    "unknown key": (b'{"no_such_field": 1}', {}, 400),
    "10,000 unknown keys": (
        b"{" + b",".join(b'"k%d":1' % number for number in range(10_000)) + b"}",
        {},
        400,
    ),
    "130,000 items": (b'{"end_phrases": [' + b"1," * 129_999 + b"1]}", {}, 400),
    "20,000 entries": (
        b'{"transfer_targets": {'
        + b",".join(b'"%d":{}' % number for number in range(20_000))
        + b"}}",
        {},
        400,
    ),
    "hostile key": (b'{"a/b~c\\u0000\\u202e": 1}', {}, 400),
    "invalid UTF-8": (b'{"name": "\xff\xfe"}', {}, 400),
    "overlong UTF-8": (b'{"name": "\xc0\xae"}', {}, 400),
    "surrogate in UTF-8": (b'{"name": "\xed\xa0\x80"}', {}, 400),
    "Latin-1": ('{"name": "M\u00fcller"}'.encode("latin-1"), {}, 400),
    "UTF-16": ('{"name": "x"}'.encode("utf-16"), {}, 400),
    "UTF-16 without a mark": ('{"name": "x"}'.encode("utf-16-le"), {}, 400),
    "UTF-32": ('{"name": "x"}'.encode("utf-32"), {}, 400),
    "byte order mark": (b'\xef\xbb\xbf{"name": "x"}', {}, 400),
    "depth 33": (b'{"a":' * 33 + b"1" + b"}" * 33, {}, 400),
    "depth 100,000": (b"[" * 100_000, {}, 400),
    "brackets in strings": (b'{"a": "' + b"[{" * 50_000, {}, 400),
    "quotes, escaped": (b'{"a": "' + b'\\"' * 100_000, {}, 400),
    "quotes, escaped, and many brackets": (
        b'{"b": [' + b"[]," * 40 + b'[]], "a": "' + b'\\"' * 100_000,
        {},
        400,
    ),
    "backslashes": (b'{"a": "' + b"\\" * 100_001, {}, 400),
    "5,000 digits": (b'{"a": ' + b"9" * 5_000 + b"}", {}, 400),
    "256 kB and one": (b" " * (256 * 1024 + 1), {}, 413),
    "20 MB": (b'{"name": "' + b"x" * 20_000_000 + b'"}', {}, 413),
    "form": (b"name=x", {"Content-Type": "application/x-www-form-urlencoded"}, 415),
    "multipart": (b"--x--", {"Content-Type": "multipart/form-data; boundary=x"}, 415),
    "text": (b"{}", {"Content-Type": "text/plain"}, 415),
    "XML": (b"<a/>", {"Content-Type": "application/xml"}, 415),
    "no type": (b"{}", {"Content-Type": ""}, 415),
    "odd type": (b"{}", {"Content-Type": "application"}, 415),
    "almost JSON": (b"{}", {"Content-Type": "application/jsonp"}, 415),
    "another JSON": (b"{}", {"Content-Type": "application/merge-patch+json"}, 415),
    "charset UTF-16": (b"{}", {"Content-Type": "application/json; charset=utf-16"}, 415),
    "charset nonsense": (b"{}", {"Content-Type": 'application/json; charset="no/such"'}, 415),
    "gzip": (b"\x1f\x8b\x08\x00", {"Content-Encoding": "gzip"}, 415),
    "deflate": (b"x\x9c", {"Content-Encoding": "deflate"}, 415),
    "two codings": (b"{}", {"Content-Encoding": "identity, gzip"}, 415),
    "chunked": (b"2\r\n{}\r\n0\r\n\r\n", _CHUNKED, 411),
    "chunked twice": (b"{}", {"Transfer-Encoding": "chunked, chunked"}, 411),
    "transfer identity": (b"{}", {"Transfer-Encoding": "identity"}, 411),
}

# Headers as they stand in the WSGI environment: Latin-1, any length.
HEADERS: dict[str, dict[str, str]] = {
    "request id: blank": {"HTTP_X_REQUEST_ID": "   "},
    "request id: short": {"HTTP_X_REQUEST_ID": "a"},
    "request id: long": {"HTTP_X_REQUEST_ID": "a" * 5_000},
    "request id: markup": {"HTTP_X_REQUEST_ID": "<script>alert(1)</script>"},
    "request id: line end": {"HTTP_X_REQUEST_ID": "abcdefgh\r\nX-Evil: 1"},
    "request id: not ASCII": {"HTTP_X_REQUEST_ID": "\xff" * 20},
    "request id: Arabic": {"HTTP_X_REQUEST_ID": "\u0661".encode().decode("latin-1") * 10},
    "accept: nothing": {"HTTP_ACCEPT": ""},
    "accept: XML": {"HTTP_ACCEPT": "application/xml"},
    "accept: nonsense": {"HTTP_ACCEPT": "\xff;q=\xff,,;;"},
    "accept: long": {"HTTP_ACCEPT": "a/b," * 5_000},
    "accept-language": {"HTTP_ACCEPT_LANGUAGE": "\xff" * 100},
    "accept-encoding": {"HTTP_ACCEPT_ENCODING": "gzip;q=nan"},
    "cookie": {"HTTP_COOKIE": "session=\xff; a=b; =; ;;" * 100},
    "host: nonsense": {"HTTP_HOST": "a b\xff:99999999"},
    "host: empty": {"HTTP_HOST": ""},
    "host: evil": {"HTTP_HOST": "evil.example"},
    "forwarded": {"HTTP_FORWARDED": "for=\xff", "HTTP_X_FORWARDED_FOR": "a, b\xff"},
    "idempotency key: empty": {"HTTP_IDEMPOTENCY_KEY": ""},
    "idempotency key: not ASCII": {"HTTP_IDEMPOTENCY_KEY": "\xff" * 20},
    "idempotency key: long": {"HTTP_IDEMPOTENCY_KEY": "a" * 5_000},
    "idempotency key: NUL": {"HTTP_IDEMPOTENCY_KEY": "a\x00b"},
    "idempotency key: SQL": {"HTTP_IDEMPOTENCY_KEY": "'; DROP TABLE calls; --"},
    "range": {"HTTP_RANGE": "bytes=-1-,9999999999999999999999-"},
    "if-none-match": {"HTTP_IF_NONE_MATCH": '"\xff'},
    "if-modified-since": {"HTTP_IF_MODIFIED_SINCE": "Never, 99 Nonsense 99999"},
    "date": {"HTTP_DATE": "\xff"},
    "override": {"HTTP_X_HTTP_METHOD_OVERRIDE": "DELETE", "HTTP_X_METHOD_OVERRIDE": "DELETE"},
    "content length: nonsense": {"CONTENT_LENGTH": "many"},
    "content length: negative": {"CONTENT_LENGTH": "-1"},
    "content length: huge": {"CONTENT_LENGTH": "9" * 30},
    "expect": {"HTTP_EXPECT": "nonsense"},
    "user agent": {"HTTP_USER_AGENT": "\x00\x01\xff" * 1_000},
    "origin": {"HTTP_ORIGIN": "null", "HTTP_REFERER": "\xff"},
}

# Values of the Authorization header instead of `Bearer <valid key>`; {key} is a valid key.
AUTHORIZATIONS = {
    "none": None,
    "empty": "",
    "blank": "   ",
    "no scheme": "{key}",
    "only the scheme": "Bearer",
    "scheme and a blank": "Bearer ",
    "Basic": "Basic {key}",
    "Basic, encoded": "Basic dmNhOnZjYQ==",
    "Token": "Token {key}",
    "no blank": "Bearer{key}",
    "colon": "Bearer: {key}",
    "a tab": "Bearer\t{key}",
    "quotes": 'Bearer "{key}"',
    "two keys": "Bearer {key} {key}",
    "two headers": "Bearer {key},Bearer {key}",
    "bad one first": "Bearer nonsense,Bearer {key}",
    "not ASCII": "Bearer \xff\xfe",
    "not ASCII after": "Bearer {key}\xff",
    "NUL after": "Bearer {key}\x00",
    "10,000 characters": "Bearer " + "a" * 10_000,
    "10,000 schemes": "Bearer " * 10_000,
    "shape of a key": "Bearer vca_AAAAAAAA_" + "A" * 32 + "_AAAAAA",
    "SQL": "Bearer ' OR '1'='1",
    "Digest": 'Digest username="a", realm="\xff"',
    "percent": "Bearer %s%(prefix)s",
}

METHODS = (
    "GET",
    "HEAD",
    "POST",
    "PUT",
    "PATCH",
    "DELETE",
    "OPTIONS",
    "TRACE",
    "CONNECT",
    "PROPFIND",
    "G\xcbT",
)
