"""AMI: meetings of four people with headset microphones, their words, and valence and arousal where somebody has annotated them."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from unifusion.conversation import Example, Media
from unifusion.datasets._files import Listed, media_files, number_of, prove_apart, rows_of
from unifusion.errors import DatasetError, LayoutError

__all__ = ["AMI"]

_ID = "{http://nite.sourceforge.net/}id"
_FILE = re.compile(r"^(?P<meeting>[A-Z]{2}\d{4}[a-z]?)\.(?P<who>[A-Z])\.segments\.xml$")
_SPAN = re.compile(r"id\((?P<first>[^)]+)\)(?:\.\.id\((?P<last>[^)]+)\))?$")
_SERIES = re.compile(r"[a-z]$")
_VAL = ("ES2011", "IB4001", "IB4002", "IB4003", "IB4004", "IB4010", "IB4011", "IS1008", "TS3004")
_TEST = ("EN2002", "ES2004", "IS1009", "TS3003")
_HEADSET = re.compile(r"^(?P<meeting>[A-Z]{2}\d{4}[a-z]?)\.(?:Headset-(?P<channel>\d)|Mix-Headset)$")
_CHANNEL = {"A": "0", "B": "1", "C": "2", "D": "3", "E": "4"}
_AFFECT = ("meeting", "speaker", "start", "end", "valence", "arousal")
_GENDERS = {"M": "male", "F": "female"}
_WHERE = "groups.inf.ed.ac.uk/ami (manual annotations 1.6.2 and headset audio)"


@dataclass(frozen=True, kw_only=True)
class _Who:
    """A person of a meeting as corpusResources/meetings.xml has it."""

    name: str
    channel: str
    role: str


@dataclass(frozen=True, kw_only=True)
class _Segment:
    """What one person says without a pause."""

    id: str
    who: str
    start_s: float
    end_s: float
    text: str


class AMI(Listed):
    """Segments of AMI: the sound of one headset over their span, their words, what was said before, valence and arousal.

    Source: Carletta et al., 2005. Licence: CC BY 4.0. Layout on disk: `words/ES2002a.A.words.xml` and `segments/ES2002a.A.segments.xml`
    (NXT); `corpusResources/meetings.xml` where it was unpacked, which tells persons and channels (else A is headset 0, B 1 ..);
    `ES2002a.Headset-0.wav`, or else `ES2002a.Mix-Headset.wav`, anywhere below. A table `meeting,speaker,start,end,valence,arousal`
    (speaker as the letter of the files, times in seconds, both values in [-1, 1]) is read where it is given or lies in the folder as
    `affect.csv`; AMI itself has no such annotation. With it, only segments it tells of are rows: a segment has the mean of the spans that
    overlap it, weighted by the overlap. One raw word, one raw segment, and one raw row of the table:

        <w nite:id="ES2002a.A.words0" starttime="77.44" endtime="77.74">Okay</w>
        <segment nite:id="ES2002a.sync.4" transcriber_start="77.44" transcriber_end="80.2">
            <nite:child href="ES2002a.A.words.xml#id(ES2002a.A.words0)..id(ES2002a.A.words8)"/></segment>
        ES2002a,A,77.4,80.2,0.25,-0.1

    Splits are those of the corpus' partition for speech (full-corpus-ASR). The group is the series of meetings (`ES2002`), in which the
    same people meet; persons who are told in meetings.xml to be in two splits are refused, unless `people_apart` is false.

    Args:
        path: the folder.
        split: train, val, test, or None for all.
        affect: table of valence and arousal.
        history: most segments before a row's own that are kept with it.
        people_apart: refuse the partition where a person is in two splits.

    Raises:
        DatasetError: annotations are missing or broken, with file and line or id.
    """

    def __init__(
        self, path: str | Path, *, split: str | None = None, affect: str | Path | None = None, history: int = 8, people_apart: bool = True
    ) -> None:
        root = Path(path)
        people, felt = _people(root / "corpusResources" / "meetings.xml"), _affect(Path(affect or root / "affect.csv"), affect is not None)
        sounds = _sounds(root)
        every = [row for meeting in _meetings(root) for row in _rows(root, meeting, people, felt, sounds, history)]
        if people_apart:
            told = (Example(id=r.id, group=r.labels["speaker"], split=r.split) for r in every if r.labels["speaker"] in _names(people))
            prove_apart(told, f"persons of AMI in {path} (people_apart: false reads it all the same)")
        super().__init__(every, split, f"AMI in {path}")


def _names(people: Mapping[tuple[str, str], _Who]) -> set[str]:
    """Global names of all persons."""
    return {who.name for who in people.values()}


def _meetings(root: Path) -> list[str]:
    """Names of the meetings that have segments."""
    found = sorted({m["meeting"] for p in (root / "segments").glob("*.xml") if (m := _FILE.match(p.name))})
    if not found:
        raise LayoutError(
            f"{root / 'segments'} holds no such file as ES2002a.A.segments.xml;", remedy=f"unpack annotations got from {_WHERE}."
        )
    return found


def _rows(
    root: Path, meeting: str, people: Mapping[tuple[str, str], _Who], affect: Mapping[tuple[str, str], list[tuple[float, ...]]],
    sounds: Mapping[str, Path], history: int,
) -> Iterator[Example]:  # fmt: skip
    """The segments of one meeting in order of time."""
    series = _SERIES.sub("", meeting)
    split = "val" if series in _VAL else "test" if series in _TEST else "train"
    before: list[dict[str, str]] = []
    for segment in sorted(_segments(root, meeting), key=lambda s: (s.start_s, s.who, s.id)):
        who = people.get((meeting, segment.who), _Who(name=f"{series}.{segment.who}", channel=_CHANNEL.get(segment.who, ""), role=""))
        felt = _felt(affect.get((meeting, segment.who), []), segment)
        if felt is not None or not affect:
            sound = sounds.get(f"{meeting}.Headset-{who.channel}") or sounds.get(f"{meeting}.Mix-Headset")
            span = {"start_s": segment.start_s, "end_s": segment.end_s}
            gender = _GENDERS.get(who.name[0], "") if (meeting, segment.who) in people else ""
            yield Example(
                id=f"ami/{segment.id}",
                media=(Media(kind="audio", source=str(sound), transcript=segment.text, **span),) if sound is not None else (),  # type: ignore[arg-type]
                texts={"transcript": segment.text},
                labels={
                    **(dict(zip(("valence", "arousal"), felt, strict=True)) if felt is not None else {}),
                    "speaker": who.name, "language": "english", "history": tuple(before[len(before) - history :] if history else ()),
                    "metadata": {k: v for k, v in (("turn", len(before)), ("speaker_gender", gender), ("role", who.role)) if v != ""},
                },
                group=f"ami/{series}",
                split=split,
            )  # fmt: skip
        before.append({"speaker": who.name, "text": segment.text})


def _segments(root: Path, meeting: str) -> Iterator[_Segment]:
    """The segments of a meeting that have words."""
    for file in sorted((root / "segments").glob(f"{meeting}.*.segments.xml")):
        named = _FILE.match(file.name)
        if named is None:
            continue
        words_file = root / "words" / f"{meeting}.{named['who']}.words.xml"
        words = _words(words_file)
        order = {name: i for i, name in enumerate(words)}
        for element in _tree(file).iter("segment"):
            name = element.get(_ID, "")
            start, end = (number_of(element.get(f"transcriber_{k}", ""), file, name, 0, 1e6) for k in ("start", "end"))
            said: list[tuple[str, bool]] = []
            for child in element.iter("{http://nite.sourceforge.net/}child"):
                span = _SPAN.search(child.get("href", ""))
                first, last = (span["first"], span["last"] or span["first"]) if span else ("", "")
                if first not in order or last not in order:
                    raise DatasetError(f"{file}, {name}: {child.get('href')!r};", remedy=f"wanted words of {words_file.name}.")
                said += list(words.values())[order[first] : order[last] + 1]
            text = "".join(word if glued or not i else f" {word}" for i, (word, glued) in enumerate((w, g) for w, g in said if w))
            if text and end > start:
                yield _Segment(id=name, who=named["who"], start_s=start, end_s=end, text=text)


def _words(file: Path) -> dict[str, tuple[str, bool]]:
    """Id -> word and whether it is punctuation; laughs, gaps and the like have no word."""
    if not file.is_file():
        raise DatasetError(f"{file} is missing;", remedy=f"unpack words beside segments; they are got from {_WHERE}.")
    found = {}
    for element in _tree(file):
        word = (element.text or "").strip() if element.tag == "w" else ""
        found[element.get(_ID, "")] = (word, element.get("punc") == "true")
    return found


def _tree(file: Path) -> ElementTree.Element:
    """An XML file."""
    try:
        return ElementTree.fromstring(file.read_bytes())
    except (OSError, ElementTree.ParseError) as error:
        raise DatasetError(f"{file}: {error};", remedy="download it again.") from error


def _people(file: Path) -> dict[tuple[str, str], _Who]:
    """(meeting, letter) -> person, where the file is there."""
    if not file.is_file():
        return {}
    return {
        (meeting.get("observation", ""), speaker.get("nxt_agent", "")): _Who(
            name=speaker.get("global_name", ""), channel=speaker.get("channel", ""), role=speaker.get("role", "")
        )
        for meeting in _tree(file).iter("meeting")
        for speaker in meeting.iter("speaker")
    }


def _affect(file: Path, wanted: bool) -> dict[tuple[str, str], list[tuple[float, ...]]]:
    """(meeting, letter) -> (start, end, valence, arousal), where the file is there."""
    found: dict[tuple[str, str], list[tuple[float, ...]]] = defaultdict(list)
    if file.is_file() or wanted:
        for line, row in rows_of(file, _AFFECT):
            times = (number_of(row[k], file, line, 0, 1e6) for k in ("start", "end"))
            values = (number_of(row[k], file, line, -1, 1) for k in ("valence", "arousal"))
            found[row["meeting"], row["speaker"]].append((*times, *values))
    return found


def _felt(spans: list[tuple[float, ...]], segment: _Segment) -> tuple[float, float] | None:
    """Valence and arousal of a segment, or None where nothing is told of it."""
    weighed = [(min(end, segment.end_s) - max(start, segment.start_s), v, a) for start, end, v, a in spans]
    there = [(w, v, a) for w, v, a in weighed if w > 0]
    total = sum(w for w, _, _ in there)
    if not total:
        return None
    return round(sum(w * v for w, v, _ in there) / total, 6), round(sum(w * a for w, _, a in there) / total, 6)


def _sounds(root: Path) -> dict[str, Path]:
    """Name without its end -> file of a headset or of their mix."""
    return {p.stem: p for p in media_files(root, (".wav", ".flac"), _WHERE) if _HEADSET.match(p.stem)}
