"""Question families that need the sound, and those about the words."""

from __future__ import annotations

from unifusion.world.draw import Draw
from unifusion.world.question import AUDIO, Draft, Family, an, yes_no
from unifusion.world.sample import VOICE_EMOTIONS
from unifusion.world.script import LANGUAGES, Script
from unifusion.world.world_file import phrasings, ranges

__all__ = ["FAMILIES", "a_sound", "kind_name", "voice_is_clear"]


def kind_name(kind: str) -> str:
    """Return what a kind of sound is called; both chords are "chord"."""
    return kind.split()[0]


def a_sound(kind: str) -> str:
    """Return the kind with its article where it takes one: "a bell", "rain"."""
    return kind if kind in phrasings()["no_article"] else an(kind)


def voice_is_clear(script: Script) -> bool:
    """Whether the voice is there and no noise is meant to cover it."""
    return script.utterance is not None and script.profile.get("scene") != "louder"


def _roomy(script: Script) -> bool:
    """Whether the clip is long enough for every sentence at every pace; in shorter ones slow and long ones are rare."""
    voice = ranges()["voice"]
    return bool(script.duration_s - voice["lead_s"] >= voice["max_s"])


def _kinds() -> tuple[str, ...]:
    return (*ranges()["sounds"]["short"], *ranges()["sounds"]["beds"])


def _lone_kind(script: Script) -> str:
    """The kind of the only sound of a plain clip without a noise bed, else an empty string."""
    plain = script.profile.get("scene") == "plain" and script.background is None
    return kind_name(script.sounds[0].kind) if plain and len(script.sounds) == 1 else ""


def _voice_emotion(script: Script, draw: Draw) -> Draft | None:
    del draw
    if script.utterance is None or not voice_is_clear(script):
        return None
    return Draft(answer=script.utterance.emotion, options=VOICE_EMOTIONS)


def _sound_kind(script: Script, draw: Draw) -> Draft | None:
    del draw
    kind = _lone_kind(script)
    return Draft(answer=kind, options=_kinds()) if kind else None


def _sound_seen(script: Script, draw: Draw) -> Draft | None:
    """Half of the sounds asked for are there; the others are drawn from the same kinds."""
    if not script.sounds or script.background is not None or script.profile.get("scene") != "plain":
        return None
    there = [kind_name(s.kind) for s in script.sounds]
    if draw.chance("yes", 0.5):
        return yes_no(True, thing=a_sound(draw.pick("kind", there)))
    return yes_no(False, thing=a_sound(draw.pick("kind", [k for k in _kinds() if k not in there])))


def _count_strokes(script: Script, draw: Draw) -> Draft | None:
    del draw
    kind = _lone_kind(script)
    if kind not in phrasings()["strokes"] or not _roomy(script):
        return None
    low, high = ranges()["sounds"]["counts"][kind]
    options = tuple(map(str, range(low, high + 1)))
    return Draft(answer=str(script.sounds[0].count), options=options, slots={"strokes": phrasings()["strokes"][kind]})


def _chord(script: Script, draw: Draw) -> Draft | None:
    del draw
    modes = {s.kind.split()[1] for s in script.sounds if s.kind.startswith("chord")}
    return Draft(answer=modes.pop(), options=("major", "minor")) if len(modes) == 1 else None


def _background(script: Script, draw: Draw) -> Draft | None:
    """A silent background is asked about just as often as each noise."""
    world = ranges()["sounds"]
    beds = world["beds"]
    if script.profile.get("scene") != "plain" or any(s.kind in beds for s in script.sounds):
        return None
    if script.background is None and not draw.chance("keep", world["bed_share"] / len(beds) / (1 - world["bed_share"])):
        return None
    return Draft(answer=script.background.kind if script.background else "none", options=(*beds, "none"))


def _language(script: Script, draw: Draw) -> Draft | None:
    """Each language is asked about equally often, however often it is spoken."""
    if script.utterance is None or not voice_is_clear(script):
        return None
    weights = ranges()["language_weights"]
    language = script.utterance.language
    if not draw.chance("keep", min(weights.values()) / weights[language]):
        return None
    return Draft(answer=language, options=tuple(LANGUAGES))


def _voice_pitch(script: Script, draw: Draw) -> Draft | None:
    del draw
    return Draft(answer=script.utterance.voice.register, options=("high", "low")) if script.utterance is not None else None


def _voice_tempo(script: Script, draw: Draw) -> Draft | None:
    del draw
    if script.utterance is None or script.utterance.tempo == "normal" or not voice_is_clear(script) or not _roomy(script):
        return None
    return Draft(answer=script.utterance.tempo, options=("fast", "slow"))


def _listed_word(script: Script) -> str:
    """The word of the closed list in the sentence, else an empty string."""
    if script.utterance is None or not voice_is_clear(script) or script.utterance.language != "english" or not _roomy(script):
        return ""
    return next((w for w in ranges()["words"] if w in script.utterance.text.split()), "")


def _word_spoken(script: Script, draw: Draw) -> Draft | None:
    word = _listed_word(script)
    if not word:
        return None
    others = draw.sample("others", [w for w in ranges()["words"] if w != word], 3)
    choices = tuple(draw.shuffled("choices", [word, *others]))
    return Draft(answer=word, options=choices, slots={"choices": ", ".join(choices[:-1]) + " or " + choices[-1]})


def _word_seen(script: Script, draw: Draw) -> Draft | None:
    word = _listed_word(script)
    if not word:
        return None
    if draw.chance("yes", 0.5):
        return yes_no(True, word=word)
    return yes_no(False, word=draw.pick("other", [w for w in ranges()["words"] if w != word]))


def _transcript(script: Script, draw: Draw) -> Draft | None:
    del draw
    if script.utterance is None or not voice_is_clear(script):
        return None
    world = ranges()["sentences"]
    english = sum(len(part["train"]) for part in world["english"].values())
    others = sum(len(part["train"]) for name, meanings in world.items() if name != "english" for part in meanings.values())
    return Draft(answer=script.utterance.text, labels={"space": english * len(ranges()["words"]) + others})


def _meaning(script: Script, draw: Draw) -> Draft | None:
    del draw
    if script.utterance is None or not voice_is_clear(script) or script.utterance.meaning not in ("happy", "sad"):
        return None
    return Draft(answer=script.utterance.meaning, options=("happy", "sad"))


_VOICE, _SOUND = ("sound", "voice"), ("sound",)
FAMILIES: dict[str, Family] = {
    "voice_emotion": Family(needs="sound", streams=AUDIO, build=_voice_emotion, requires=_VOICE, refuses=True, weight=2.0),
    "sound_kind": Family(needs="sound", streams=AUDIO, build=_sound_kind, requires=_SOUND, refuses=True, weight=2.5),
    "sound_seen": Family(needs="sound", streams=AUDIO, build=_sound_seen, requires=_SOUND, weight=2.5),
    "count_strokes": Family(needs="sound", streams=AUDIO, build=_count_strokes, requires=_SOUND, checker="number", weight=14.0),
    "chord": Family(needs="sound", streams=AUDIO, build=_chord, requires=_SOUND, weight=9.0),
    "background": Family(needs="sound", streams=AUDIO, build=_background, requires=_SOUND, refuses=True, weight=3.0),
    "language": Family(needs="sound", streams=AUDIO, build=_language, requires=_VOICE, refuses=True, weight=2.0),
    "voice_pitch": Family(needs="sound", streams=AUDIO, build=_voice_pitch, requires=_VOICE, refuses=True),
    "voice_tempo": Family(needs="sound", streams=AUDIO, build=_voice_tempo, requires=_VOICE, refuses=True),
    "word_spoken": Family(needs="sound", streams=AUDIO, build=_word_spoken, requires=_VOICE, weight=1.5),
    "word_seen": Family(needs="sound", streams=AUDIO, build=_word_seen, requires=_VOICE, weight=1.5),
    "transcript": Family(needs="words", streams=AUDIO, build=_transcript, requires=_VOICE, refuses=True),
    "meaning": Family(needs="words", streams=AUDIO, build=_meaning, requires=_VOICE, weight=1.5),
}
