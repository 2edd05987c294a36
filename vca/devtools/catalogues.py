"""Update and compile the catalogues of VCA's own sentences: `make catalogues`.

Run it after a change of `localised_phrases.PHRASES` or of a `.po` file. It adds the names that a
catalogue lacks, without a translation, removes those that no longer exist, and compiles the
catalogue. `LANGUAGE=sw` creates the catalogue of a language.
"""

import sys
from io import BytesIO
from pathlib import Path

from babel import Locale
from babel.messages.catalog import Catalog
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po

from vca.conversation import localised_phrases
from vca.conversation.localised_phrases import DOMAIN, LOCALE_FOLDER, PHRASES

_LINE_LENGTH = 100
_HEADER = """\
# Sentences that VCA says to callers, in {language}.
# Translated for VCA by its maintainers with a language model; not reviewed by a native speaker.
# The name of a sentence is its context. Keep placeholders such as {{name}}."""


def catalogue_paths() -> list[Path]:
    """Return the paths of all `.po` files, sorted."""
    return sorted(LOCALE_FOLDER.glob(f"*/LC_MESSAGES/{DOMAIN}.po"))


def read_catalogue(path: Path) -> Catalog:
    """Return a `.po` file as it is."""
    with path.open("rb") as file:
        return read_po(file, locale=path.parts[-3], domain=DOMAIN)


def compile_catalogue(catalogue: Catalog) -> bytes:
    """Return the content of the `.mo` file."""
    buffer = BytesIO()
    write_mo(buffer, catalogue)
    return buffer.getvalue()


def new_catalogue(locale: str, translations: dict[str, str] | None = None) -> Catalog:
    """Return a catalogue with all sentences and the translations that are given by name."""
    catalogue = Catalog(locale, DOMAIN, _HEADER.format(language=_language_name(locale)))
    catalogue.fuzzy = False
    for name, text in PHRASES.items():
        catalogue.add(text, (translations or {}).get(name, ""), context=name)
    return catalogue


def update_catalogue(path: Path) -> None:
    """Write the `.po` file with exactly the current sentences, and the `.mo` file beside it."""
    existing = read_catalogue(path) if path.exists() else None
    catalogue = new_catalogue(path.parts[-3], _translations(existing) if existing else None)
    if existing is not None:
        catalogue.header_comment = existing.header_comment
    write_catalogue(catalogue, path)


def write_catalogue(catalogue: Catalog, path: Path) -> None:
    """Write the `.po` file and the `.mo` file beside it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        write_po(file, catalogue, width=_LINE_LENGTH, omit_header=True)
    header = "\n".join(line for line in catalogue.header_comment.splitlines() if line)
    fields = "".join(f'"{name}: {value}\\n"\n' for name, value in _header_fields(catalogue))
    path.write_text(f'{header}\nmsgid ""\nmsgstr ""\n{fields}\n{path.read_text().lstrip()}')
    path.with_suffix(".mo").write_bytes(compile_catalogue(read_catalogue(path)))


def _header_fields(catalogue: Catalog) -> list[tuple[str, str]]:
    """Return the header without dates, which would change with every run."""
    return [
        ("Language", str(catalogue.locale_identifier)),
        ("Content-Type", "text/plain; charset=utf-8"),
        ("Content-Transfer-Encoding", "8bit"),
    ]


def _translations(catalogue: Catalog) -> dict[str, str]:
    return {str(message.context): str(message.string) for message in catalogue if message.id}


def _language_name(locale: str) -> str:
    return str(Locale.parse(locale).english_name)


def update_all(*languages: str) -> None:
    """Update all catalogues, and create those of the given languages."""
    new_paths = [
        LOCALE_FOLDER / language.replace("-", "_") / "LC_MESSAGES" / f"{DOMAIN}.po"
        for language in languages
    ]
    for path in {*catalogue_paths(), *new_paths}:
        update_catalogue(path)
    localised_phrases.translated_languages.cache_clear()


if __name__ == "__main__":
    update_all(*sys.argv[1:])
