"""Update and compile the catalogues of VCA's own sentences: `make catalogues`.

Run it after a change of `localised_phrases.PHRASES` or of a `.po` file. It adds the names that a
catalogue lacks, without a translation, removes those that no longer exist, and compiles the
catalogue. `LANGUAGE=sw` creates the catalogue of a language.
"""

import sys
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path

from babel import Locale
from babel.messages.catalog import Catalog
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po

from vca.conversation.localised_phrases import DOMAIN, LOCALE_FOLDER, PHRASES

_LINE_LENGTH = 100
_HEADER = """\
# Sentences that VCA says to callers, in {language}.
# Translated for VCA by its maintainers with a language model; not reviewed by a native speaker.
# The name of a sentence is its context. Keep placeholders such as {{name}}."""


class StableCatalogue(Catalog):
    """A catalogue whose header names neither a date nor a tool, which would change every file."""

    @property  # type: ignore[misc]  # read-only here
    def mime_headers(self) -> list[tuple[str, str]]:
        """The fields of the header."""
        return [
            ("Language", str(self.locale_identifier)),
            ("Content-Type", "text/plain; charset=utf-8"),
            ("Content-Transfer-Encoding", "8bit"),
        ]


def catalogue_paths() -> list[Path]:
    """Return the paths of all `.po` files, sorted."""
    return sorted(LOCALE_FOLDER.glob(f"*/LC_MESSAGES/{DOMAIN}.po"))


def read_catalogue(path: Path) -> Catalog:
    """Return a `.po` file as it is."""
    with path.open("rb") as file:
        return read_po(file, locale=path.parts[-3], domain=DOMAIN)


def new_catalogue(
    locale: str, translations: Mapping[str, str], header_comment: str | None = None
) -> Catalog:
    """Return a catalogue of all sentences, with the translations that are given by name."""
    comment = header_comment or _HEADER.format(language=Locale.parse(locale).english_name)
    catalogue = StableCatalogue(locale, DOMAIN, comment, fuzzy=False)
    for name, text in PHRASES.items():
        catalogue.add(text, translations.get(name, ""), context=name)
    return catalogue


def compile_catalogue(path: Path) -> bytes:
    """Return the content of the `.mo` file for a `.po` file."""
    existing = read_catalogue(path)
    buffer = BytesIO()
    write_mo(buffer, new_catalogue(path.parts[-3], _translations(existing)))
    return buffer.getvalue()


def write_catalogue(path: Path, catalogue: Catalog) -> None:
    """Write the `.po` file and the `.mo` file beside it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        write_po(file, catalogue, width=_LINE_LENGTH)
    path.with_suffix(".mo").write_bytes(compile_catalogue(path))


def update_catalogue(path: Path) -> None:
    """Give a `.po` file exactly the current sentences, or create it; write both files."""
    locale = path.parts[-3]
    if path.exists():
        existing = read_catalogue(path)
        comment = str(existing.header_comment)
        catalogue = new_catalogue(locale, _translations(existing), comment)
    else:
        catalogue = new_catalogue(locale, {})
    write_catalogue(path, catalogue)


def update_all(*languages: str) -> None:
    """Update all catalogues, and create those of the given languages."""
    new_paths = [
        LOCALE_FOLDER / language.replace("-", "_") / "LC_MESSAGES" / f"{DOMAIN}.po"
        for language in languages
    ]
    for path in {*catalogue_paths(), *new_paths}:
        update_catalogue(path)


def _translations(catalogue: Catalog) -> dict[str, str]:
    return {str(message.context): str(message.string) for message in catalogue if message.id}


if __name__ == "__main__":
    update_all(*sys.argv[1:])
