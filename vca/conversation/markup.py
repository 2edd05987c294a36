"""Remove what a voice cannot speak from a model's text: Markdown, HTML and emoji.

The remaining text reads as a person would say it. Signs that are spoken stay: `2 < 3`,
`5*3`, `snake_case`, `[sic]`, ©, ® and ™, and the joiners of Persian and Indic scripts.
"""

import html
import re

_TAG = re.compile(r"<[/!?]?[A-Za-z][^<>]{0,300}>|<!--[^>]{0,300}-->")
_OPEN_TAG = re.compile(r"<(?:[/!?]?(?:[A-Za-z-][^<>]{0,300})?)?\Z")
_INLINE_END_TAG = re.compile(
    r"</(?:a|abbr|b|code|em|font|i|mark|q|s|small|span|strong|sub|sup|u)\s*>", re.IGNORECASE
)
_AUTOLINK = re.compile(r"<([\w.+-]+@[\w.-]+|https?://[^<>\s]{1,500})>")

_PARENTHESES = r"(?:[^()\n]|\([^()\n]{0,200}\)){0,1000}+"
_TITLE = r"(?:\s+[\"'][^\"'\n]{0,200}[\"'])?"
_ADDRESS = rf"(?:<?[^()\s<>]{{0,1000}}+>?{_TITLE}|(?:\w+:|www\.|[#/.]){_PARENTHESES})"
_LINK = re.compile(rf"!?\[([^\[\]\n]{{0,300}})\](?:\(\s*{_ADDRESS}\s*\)|\[[^\[\]\n]{{0,100}}\])")
_OPEN_LINK = re.compile(
    rf"\[[^\[\]\n]{{0,300}}(?:\](?:\({_PARENTHESES}(?:\([^()\n]{{0,200}})?"
    r"|\[[^\[\]\n]{0,100})?)?\Z"
)
_FOOTNOTE = re.compile(r"\[\^[^\[\]\s]{1,40}\]:?")

_PLAIN = re.compile(r"[^<>*_`~|\\#\[\]&\x00-\x1f\x7f-\uffff\U00010000-\U0010ffff-]*+")
_LINE_MARK = re.compile(r"\s*(?:(?:#{1,6}|[-*•◦‣▪●○■□·–—]|>+)\s+|\[[ xX]\]\s+)+")
_HEADING_END = re.compile(r"\s+#{1,6}\s*\Z")
# An asterisk or an angle bracket between numbers, or between operands with spaces, is spoken.
_SIGN = re.compile(
    r"((?<=\d)\*{1,2}(?=\d)|(?<=[\d)] )\*(?= [\d(])"
    r"|(?<=\d)[<>]=?(?=\d)|(?<=[\w)] )[<>]=?(?= [\w(]))|\*+|[<>]+"
)
# Underscores around a word are emphasis, those inside a word belong to it.
_EMPHASIS = re.compile(r"(?<![^\W_])_+|_+(?![^\W_])")
_MARKUP_CHARACTERS = str.maketrans({"`": "", "~": "", "\\": "", "|": " "})

_EMOJI = (
    "\U0001f000-\U0001faff\u2600-\u27bf\u2b05-\u2b07\u2b1b\u2b1c\u2b50\u2b55\u231a\u231b\u2328"
    "\u23cf\u23e9-\u23fa\u24c2\u25aa\u25ab\u25b6\u25c0\u25fb-\u25fe\u2194-\u2199\u21a9\u21aa"
    "\u2934\u2935\u3030\u303d\u3297\u3299"
)
# An emoji with what modifies it, or another character that is shown as an emoji.
_EMOJI_SEQUENCE = re.compile(
    rf"(?:\s*(?:[{_EMOJI}]|(?:[^\s\w#*©®™‼⁉]|ℹ|Ⓜ)\ufe0f)"
    r"[\ufe0e\ufe0f\u200d\u20e3\U000e0020-\U000e007f]*)+([.,!?;:…]?)"
)
_EMOJI_MODIFIERS = re.compile(r"[\ufe0e\ufe0f\u20e3]")


def complete_length(text: str) -> int:
    """Return the length of the text up to a tag or a link whose rest is still to come."""
    tag = _OPEN_TAG.search(text) if "<" in text else None
    link = _OPEN_LINK.search(text) if "[" in text else None
    return min((match.start() for match in (tag, link) if match is not None), default=len(text))


def remove_tags(text: str) -> str:
    """Return the text without complete tags; a link that is written as a tag is its address."""
    if "<" not in text:
        return text
    return _TAG.sub(" ", _INLINE_END_TAG.sub("", _AUTOLINK.sub(r"\1", text)))


def remove_links(text: str) -> str:
    """Return the text with the text of each Markdown link in place of the link."""
    return _LINK.sub(r"\1", text) if "[" in text else text


def remove_markup(text: str) -> str:
    """Return a line or a part of a line without markup."""
    if _PLAIN.fullmatch(text):
        return text
    text = " ".join(text.split())
    if "&" in text:
        text = html.unescape(text)
    text = remove_links(remove_tags(text))
    if text.lstrip().startswith("|"):
        return remove_markup(_join_cells(text))
    if (mark := _LINE_MARK.match(text)) is not None:
        is_heading = "#" in mark[0]
        text = text[mark.end() :]
        text = _HEADING_END.sub("", text) if is_heading else text
    text = _SIGN.sub(_spoken_sign, _FOOTNOTE.sub("", text))
    return _EMPHASIS.sub("", text.translate(_MARKUP_CHARACTERS))


def remove_emoji(text: str) -> str:
    """Return the text without emoji, flags and what modifies them; the digits of keycaps stay."""
    if text.isascii():
        return text
    without = _EMOJI_SEQUENCE.sub(lambda match: match[1] or " ", text)
    return " ".join(_EMOJI_MODIFIERS.sub("", without).split())


def _spoken_sign(match: re.Match[str]) -> str:
    return match[1] or ""


def _join_cells(row: str) -> str:
    """Return the cells of a table's row as a list of phrases."""
    cells = (cell.strip() for cell in row.strip().strip("|").split("|"))
    return ", ".join(cell for cell in cells if any(map(str.isalnum, cell)))
