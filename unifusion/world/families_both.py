"""Question families that need picture and sound together."""

from __future__ import annotations

from unifusion.world.draw import Draw
from unifusion.world.families_picture import all_pairs, face_emotion, object_name
from unifusion.world.families_sound import kind_name, voice_is_clear
from unifusion.world.prosody import prosody_of
from unifusion.world.question import BOTH, Draft, Family, yes_no
from unifusion.world.sample import VOICE_EMOTIONS
from unifusion.world.script import Script

__all__ = ["FAMILIES"]


def _agreement(script: Script, draw: Draw) -> Draft | None:
    """A face in contempt always disagrees (no voice carries contempt), so it is not asked about."""
    del draw
    if script.utterance is None or not voice_is_clear(script) or face_emotion(script) not in VOICE_EMOTIONS:
        return None
    return yes_no(face_emotion(script) == script.utterance.emotion)


def _on_screen_at(script: Script, draw: Draw) -> Draft | None:
    """Needs one object at the sound and others at other times: the scene `on_screen`."""
    del draw
    if script.profile.get("scene") != "on_screen":
        return None
    sound = script.sounds[0]
    there = [o for o in script.objects if o.start_s <= sound.start_s and o.end_s >= sound.end_s]
    if len(there) != 1:
        return None
    return _which_object(script, object_name(there[0]), kind_name(sound.kind))


def _appears_after(script: Script, draw: Draw) -> Draft | None:
    """The next object after the sound, which is before each of them equally often: the scene `after`."""
    del draw
    if script.profile.get("scene") != "after":
        return None
    sound = script.sounds[0]
    later = [o for o in script.objects if o.start_s >= sound.end_s]
    return _which_object(script, object_name(min(later, key=lambda o: o.start_s)), kind_name(sound.kind)) if later else None


def _which_object(script: Script, answer: str, kind: str) -> Draft:
    names = [object_name(o) for o in script.objects]
    return Draft(answer=answer, slots={"kind": kind}, labels={"space": len(all_pairs(script)), "candidates": names})


def _louder_while(script: Script, draw: Draw) -> Draft | None:
    """The noise is above the voice in one half and below it in the other; the object tells which half is meant."""
    if script.profile.get("scene") != "louder" or script.utterance is None:
        return None
    track = script.objects[0]
    middle = (track.start_s + track.end_s) / 2
    noise = next(s for s in script.sounds if s.start_s <= middle < s.end_s)
    said = script.utterance
    spoken_db = said.level_db + prosody_of(said.emotion, said.intensity).level_db
    answer = noise.kind if noise.level_db > spoken_db else "voice"
    del draw
    return Draft(answer=answer, options=("voice", noise.kind), slots={"shape": track.shape, "kind": noise.kind})


_BOTH, _FACE_VOICE = ("picture", "sound"), ("picture", "face", "sound", "voice")
FAMILIES: dict[str, Family] = {
    "agreement": Family(needs="both", streams=BOTH, build=_agreement, requires=_FACE_VOICE, refuses=True, weight=2.2),
    "on_screen_at": Family(needs="both", streams=BOTH, build=_on_screen_at, requires=_BOTH, weight=12.0),
    "appears_after": Family(needs="both", streams=BOTH, build=_appears_after, requires=_BOTH, weight=12.0),
    "louder_while": Family(needs="both", streams=BOTH, build=_louder_while, requires=(*_BOTH, "voice"), weight=25.0),
}
