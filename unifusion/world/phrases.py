"""What is true of a short window of a clip, as phrases: the texts that the encoders are aligned with.

A phrase is true, false or unknown (partly so: an expression still rising, an object that leaves half way). Unknown ones take no part
in a loss. Held-out colour-shape pairs have no phrase, so that alignment can never teach that they do not exist.
"""

from __future__ import annotations

from functools import lru_cache

from unifusion.world.families_sound import kind_name
from unifusion.world.script import COLOURS, DIRECTIONS, EMOTIONS, LANGUAGES, SHAPES, SIZES, Expression, Script
from unifusion.world.world_file import ranges

__all__ = ["phrase_bank", "window_truth"]

_SHOWN, _NOT_SHOWN = 0.6, 0.2
_LEAST_S = 0.15
_STARTS = {"video": ("the face changes", "an object appears"), "audio": ("the voice starts", "a sound starts")}
_HALVES = ("", " late")
"""A start in the second half of the window is a late one."""


def times(kind: str, count: int) -> str:
    """How often a counted sound strikes: "bell 2 times"."""
    return f"{kind} {count} time{'s' * (count != 1)}"


@lru_cache(maxsize=1)
def phrase_bank() -> dict[str, tuple[str, ...]]:
    """All phrases by stream, in a fixed order."""
    world = ranges()
    held_out = {(shape, colour) for shape, colour in world["objects"]["held_out_pairs"]}
    kinds = [*world["sounds"]["short"], *world["sounds"]["beds"]]
    video = [f"{e} face" for e in EMOTIONS]
    video += ["a face", "face with glasses", "face with a beard", "no objects", "one object", "two objects", "three objects"]
    video += [f"{colour} {shape}" for shape in SHAPES for colour in COLOURS if (shape, colour) not in held_out]
    video += [f"{shape} moves {d}" for shape in SHAPES for d in DIRECTIONS]
    video += [f"{size} {shape}" for shape in SHAPES for size in SIZES]
    video += [f"the sign says {t}" for t in [*map(str, range(10)), *world["sign"]["words"]]] + ["no sign"]
    video += [f"{event}{half}" for event in _STARTS["video"] for half in _HALVES]
    audio = [f"{e} voice" for e in EMOTIONS[:7]]
    audio += ["a voice", "high voice", "low voice", "fast voice", "slow voice", *(f"{language} speech" for language in LANGUAGES)]
    audio += [f"the word {w}" for w in world["words"]]
    audio += [f"sound of {k}" for k in kinds] + ["major chord", "minor chord", "no sound event"]
    audio += [f"{k} louder than the voice" for k in world["louder"]["kinds"]] + ["voice louder than the noise"]
    audio += [times(kind, n) for kind, (low, high) in world["sounds"]["counts"].items() for n in range(low, high + 1)]
    audio += [f"{event}{half}" for event in _STARTS["audio"] for half in _HALVES]
    return {"video": tuple(video), "audio": tuple(audio)}


def window_truth(script: Script, stream: str, start_s: float, end_s: float) -> dict[str, bool | None]:
    """Return every phrase of the bank that is true (True) or unknown (None) in [start_s, end_s); those left out are false.

    `script` must have its word times (`render_sound` fills them in) for the audio stream.
    """
    return _picture(script, start_s, end_s) if stream == "video" else _sound(script, start_s, end_s)


def _share(start_s: float, end_s: float, low_s: float, high_s: float) -> float:
    """Share of [start_s, end_s) that lies in [low_s, high_s)."""
    return max(0.0, min(end_s, high_s) - max(start_s, low_s)) / (end_s - start_s)


def _three(share: float, sure: float = 0.8) -> bool | None:
    """True, unknown, or False by how much of the window something covers."""
    return True if share >= sure else (None if share > 0.0 else False)


def _intensity(expression: Expression, time_s: float) -> float:
    """Intensity in [0, 1] at a time, relative to the peak."""
    e = expression
    if time_s <= e.start_s or time_s >= e.end_s:
        return 0.0
    if time_s < e.apex_s:
        return (time_s - e.start_s) / max(e.apex_s - e.start_s, 1e-6)
    return 1.0 if time_s <= e.offset_s else (e.end_s - time_s) / max(e.end_s - e.offset_s, 1e-6)


def _picture(script: Script, start_s: float, end_s: float) -> dict[str, bool | None]:
    """Truth about the picture."""
    truth: dict[str, bool | None] = {}
    if script.identity is not None:
        truth["a face"] = True
        truth["face with glasses"], truth["face with a beard"] = script.identity.glasses, script.identity.beard
        shown = max((_intensity(e, (start_s + end_s) / 2) for e in script.expressions), default=0.0)
        emotion = script.expressions[0].emotion if script.expressions else "neutral"
        truth["neutral face"] = True if shown < _NOT_SHOWN else (None if shown < _SHOWN else False)
        if emotion != "neutral":
            truth[f"{emotion} face"] = True if shown >= _SHOWN else (None if shown >= _NOT_SHOWN else False)
    shares = [_share(start_s, end_s, o.start_s, o.end_s) for o in script.objects]
    for track, share in zip(script.objects, shares, strict=True):
        for phrase in (f"{track.colour} {track.shape}", f"{track.shape} moves {track.direction}", f"{track.size} {track.shape}"):
            truth[phrase] = _three(share)
    names = ("no objects", "one object", "two objects", "three objects")
    sure = all(s >= 0.8 or s == 0.0 for s in shares)
    truth.update({name: (sum(s > 0 for s in shares) == i) if sure else None for i, name in enumerate(names)})
    share = _share(start_s, end_s, script.sign.start_s, script.sign.end_s) if script.sign else 0.0
    truth["no sign"] = share == 0.0 if share in (0.0, 1.0) else None
    if script.sign:
        truth[f"the sign says {script.sign.text}"] = _three(share)
    changes = [e.start_s for e in script.expressions if e.emotion != "neutral"]
    _starts(truth, {"the face changes": changes, "an object appears": [o.start_s for o in script.objects]}, start_s, end_s)
    return truth


def _starts(truth: dict[str, bool | None], events: dict[str, list[float]], start_s: float, end_s: float) -> None:
    """What starts in the window, and whether it does so in its second half; what is there from the clip's start never starts."""
    for event, at_s in events.items():
        inside = [t for t in at_s if start_s <= t < end_s and t > _LEAST_S]
        if inside:
            truth[event] = True
            truth[f"{event} late"] = min(inside) >= (start_s + end_s) / 2


def _sound(script: Script, start_s: float, end_s: float) -> dict[str, bool | None]:
    """Truth about the sound."""
    truth: dict[str, bool | None] = {}
    said, louder = script.utterance, script.profile.get("scene") == "louder"
    if said is not None:
        voiced = _share(start_s, end_s, said.start_s, said.end_s) * (end_s - start_s)
        heard: bool | None = True if voiced >= min(0.25, 0.6 * (end_s - start_s)) else (None if voiced > 0.0 else False)
        unclear = heard if not louder else (None if heard else heard)
        truth["a voice"] = heard
        truth[f"{said.voice.register} voice"] = unclear
        truth[f"{said.emotion} voice"] = unclear
        truth[f"{said.language} speech"] = unclear
        if said.tempo != "normal":
            truth[f"{said.tempo} voice"] = unclear
        else:
            truth["fast voice"] = truth["slow voice"] = None if heard is not False else False
        for word in said.words:
            if (text := word.text.lower().strip(".,!?")) in ranges()["words"]:
                part = _share(word.start_s, word.end_s, start_s, end_s)
                truth[f"the word {text}"] = (None if louder else True) if part >= 0.6 else (None if part > 0.1 else False)
    events = [(kind_name(s.kind), s.kind, s.start_s, s.end_s) for s in script.sounds]
    if script.background is not None:
        events.append((kind_name(script.background.kind), script.background.kind, 0.0, script.duration_s))
    for name, kind, low_s, high_s in events:
        seconds = _share(start_s, end_s, low_s, high_s) * (end_s - start_s)
        there: bool | None = True if seconds >= min(_LEAST_S * 2, 0.6 * (end_s - start_s)) else (None if seconds > 0.0 else False)
        for phrase in [f"sound of {name}", *([f"{kind.split()[1]} chord"] if name == "chord" else [])]:
            truth[phrase] = there if truth.get(phrase) is not True else True
        if (sound := next((s for s in script.sounds if s.kind == kind and s.start_s == low_s), None)) and kind in ranges()["sounds"][
            "counts"
        ]:
            truth[times(kind, sound.count)] = there
    any_event = [truth.get(f"sound of {name}") for name, _, _, _ in events]
    truth["no sound event"] = False if True in any_event else (None if None in any_event else True)
    if louder and said is not None:
        _loudness(script, truth, start_s, end_s)
    voices = [] if said is None else [said.start_s]
    _starts(truth, {"the voice starts": voices, "a sound starts": [s.start_s for s in script.sounds]}, start_s, end_s)
    return truth


def _loudness(script: Script, truth: dict[str, bool | None], start_s: float, end_s: float) -> None:
    """Which of voice and noise is louder, in windows that hold both."""
    if truth.get("a voice") is not True or script.utterance is None:
        return
    for event in script.sounds:
        if _share(start_s, end_s, event.start_s, event.end_s) >= 0.9:
            above = event.level_db > script.utterance.level_db
            truth[f"{event.kind} louder than the voice"] = above
            truth["voice louder than the noise"] = not above
