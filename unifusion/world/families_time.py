"""Question families about when: times on the grid of the world file, and what comes first."""

from __future__ import annotations

from unifusion.world.draw import Draw
from unifusion.world.families_picture import object_name
from unifusion.world.families_sound import kind_name, voice_is_clear
from unifusion.world.question import AUDIO, BOTH, VIDEO, Draft, Family, seconds, times_grid
from unifusion.world.script import Script
from unifusion.world.sentences import estimate_s
from unifusion.world.world_file import phrasings, ranges

__all__ = ["FAMILIES"]

_TOLERANCE_S = 0.5
_EARLIEST_S = 0.3


def _when(family: str, time_s: float, low: float, high: float, **slots: str) -> Draft | None:
    """A time question whose answers are uniform from `low` to `high`; None for a time outside."""
    grid_s = ranges()["clip"]["grid_s"]
    grid = times_grid(low, high, grid_s)
    answer = seconds(time_s, grid_s)
    if answer not in grid:
        return None
    event = phrasings()["events"][family].format(**slots)
    labels = {"time_s": time_s, "grid": grid}
    return Draft(answer=answer, slots=slots, tolerance=_TOLERANCE_S, labels=labels, texts={"event": event})


def _face_change(script: Script, draw: Draw) -> Draft | None:
    del draw
    if not script.expressions or script.expressions[0].start_s < _EARLIEST_S:
        return None
    world = ranges()["expression"]
    return _when("face_change", script.expressions[0].start_s, world["first_s"], script.duration_s - world["last_before_end_s"])


def _voice_start(script: Script, draw: Draw) -> Draft | None:
    """Asked of short sentences, whose start is uniform over the same grid."""
    del draw
    said = script.utterance
    if said is None or not voice_is_clear(script):
        return None
    world = ranges()["voice"]
    if estimate_s(said) > world["start_room_s"]:
        return None
    return _when("voice_start", said.start_s, 0.5, script.duration_s - world["start_room_s"] - world["lead_s"])


def _sound_start(script: Script, draw: Draw) -> Draft | None:
    del draw
    if len(script.sounds) != 1 or script.profile.get("scene") != "plain":
        return None
    world, sound = ranges()["sounds"], script.sounds[0]
    last = script.duration_s - world["last_before_end_s"]
    return _when("sound_start", sound.start_s, world["first_s"], last, kind=kind_name(sound.kind))


def _object_appears(script: Script, draw: Draw) -> Draft | None:
    late = [o for o in script.objects if o.start_s > _EARLIEST_S]
    if not late or script.profile.get("scene") != "plain":
        return None
    world, track = ranges()["objects"], draw.pick("object", late)
    last = script.duration_s - world["last_before_end_s"]
    return _when("object_appears", track.start_s, world["first_s"], last, object=object_name(track))


def _word_time(script: Script, draw: Draw) -> Draft | None:
    """When a word of the closed list is said; the sentence must have been spoken (`words` filled)."""
    del draw
    said = script.utterance
    if said is None or not voice_is_clear(script):
        return None
    word = next((w for w in said.words if w.text.lower() in ranges()["words"]), None)
    if word is None:
        return None
    return _when("word_time", word.start_s, 0.5, script.duration_s - 1.0, word=word.text)


def _what_first(script: Script, draw: Draw) -> Draft | None:
    """Face against sound (both start uniformly on the same part of the grid), or one sound against another."""
    if script.profile.get("scene") != "plain":
        return None
    if len(script.sounds) == 2:
        first, second = (kind_name(s.kind) for s in script.sounds)
        a, b = draw.shuffled("names", [first, second])
        return Draft(answer=first, options=(a, b), slots={"a": a, "b": b}, stream_needs=AUDIO)
    if len(script.sounds) != 1 or not script.expressions or script.expressions[0].start_s < _EARLIEST_S:
        return None
    sound_s, face_s, name = script.sounds[0].start_s, script.expressions[0].start_s, kind_name(script.sounds[0].kind)
    last = script.duration_s - ranges()["sounds"]["last_before_end_s"] + ranges()["clip"]["jitter_s"]
    if abs(sound_s - face_s) < 0.7 or face_s > last:
        return None
    a, b = draw.shuffled("names", ["face", name])
    return Draft(answer="face" if face_s < sound_s else name, options=(a, b), slots={"a": a, "b": b})


FAMILIES: dict[str, Family] = {
    "face_change": Family(needs="time", streams=VIDEO, build=_face_change, requires=("picture", "face"), checker="time", weight=2.5),
    "voice_start": Family(needs="time", streams=AUDIO, build=_voice_start, requires=("sound", "voice"), refuses=True, checker="time"),
    "sound_start": Family(needs="time", streams=AUDIO, build=_sound_start, requires=("sound",), checker="time", weight=2.5),
    "object_appears": Family(needs="time", streams=VIDEO, build=_object_appears, requires=("picture",), checker="time", weight=2.0),
    "word_time": Family(needs="time", streams=AUDIO, build=_word_time, requires=("sound", "voice"), checker="time", timed=True, weight=1.5),
    "what_first": Family(needs="time", streams=BOTH, build=_what_first, requires=("sound",), weight=2.5),
}
