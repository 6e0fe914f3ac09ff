"""Texts about a script: caption, dense description, overall emotion and the evidence for it."""

from __future__ import annotations

from typing import Any

from unifusion.world.families_picture import face_emotion, object_name
from unifusion.world.families_sound import a_sound, kind_name
from unifusion.world.prosody import words_for
from unifusion.world.question import an
from unifusion.world.sample import VOICE_EMOTIONS
from unifusion.world.script import Script
from unifusion.world.world_file import phrasings

__all__ = ["adjective", "blocks", "caption", "dense_description", "evidence", "overall_emotion", "rationale", "there_is"]


def blocks(script: Script) -> dict[str, str]:
    """Return the caption in independent parts: `person` (face and voice together), `objects`, `sounds`; a part may be empty."""
    person = []
    if script.identity is not None:
        person.append(f"The face is {adjective(face_emotion(script))}.")
    if script.utterance is not None:
        person.append(f"The voice is {adjective(script.utterance.emotion)}.")
    objects = [f"{an(object_name(o)).capitalize()} {phrasings()['moves'][o.direction]}." for o in script.objects]
    kinds = dict.fromkeys(kind_name(s.kind) for s in script.sounds)
    sounds = [f"{there_is(kind)}." for kind in kinds]
    return {"person": " ".join(person), "objects": " ".join(objects), "sounds": " ".join(sounds)}


def caption(script: Script) -> str:
    """Return one short text about what is seen and heard."""
    absent = [f"There is no {name}." for name, there in (("picture", script.has_picture), ("sound", script.has_sound)) if not there]
    text = " ".join(part for part in (*blocks(script).values(), *absent) if part)
    return text or "Nothing happens."


_ADJECTIVES = {"fear": "afraid", "surprise": "surprised", "disgust": "disgusted", "contempt": "full of contempt", "boredom": "bored"}


def adjective(emotion: str) -> str:
    """Return how a face or voice with this emotion is called."""
    return _ADJECTIVES.get(emotion, emotion)


def there_is(kind: str) -> str:
    """Return "There is a bell" for a kind of sound."""
    return f"There {'are' if kind == 'footsteps' else 'is'} {a_sound(kind)}"


def dense_description(script: Script) -> str:
    """Return what happens with times, one sentence per event in order of time. The utterance must have been spoken."""
    events: list[tuple[float, str]] = []
    for e in script.expressions:
        events.append((e.start_s, f"From {e.start_s:.1f} s the face is {adjective(e.emotion)}: {_units(e.action_units)}."))
    if script.identity is not None and not script.expressions:
        events.append((0.0, "The face is neutral."))
    for o in script.objects:
        what = f"a {o.size} {object_name(o)} {phrasings()['moves'][o.direction]}"
        events.append((o.start_s, f"From {o.start_s:.1f} to {o.end_s:.1f} s {what}."))
    if script.sign is not None:
        events.append((script.sign.start_s, f"From {script.sign.start_s:.1f} s a sign shows {script.sign.text}."))
    for s in script.sounds:
        events.append((s.start_s, f"From {s.start_s:.1f} to {s.end_s:.1f} s {there_is(kind_name(s.kind)).lower()}."))
    said = script.utterance
    if said is not None:
        how = f'a {said.voice.register} {adjective(said.emotion)} voice says in {said.language.capitalize()}: "{said.text}".'
        events.append((said.start_s, f"From {said.start_s:.1f} to {said.end_s:.1f} s {how}"))
    if script.background is not None:
        events.append((-1.0, f"There is {script.background.kind} in the background."))
    absent = [f"There is no {name}." for name, there in (("picture", script.has_picture), ("sound", script.has_sound)) if not there]
    return " ".join([*(text for _, text in sorted(events)), *absent]) or "Nothing happens."


def _units(units: tuple[str, ...]) -> str:
    return ", ".join(phrasings()["units"][u] for u in units)


def overall_emotion(script: Script) -> str:
    """Return the emotion of the person where picture and sound leave no doubt, else an empty string.

    Clear are: face and voice agree; one of them is neutral, so the other tells; one of them is missing. A face and a voice
    with two different emotions have no single truth, and contempt has no voice: neither is asked about.
    """
    face = face_emotion(script) if script.identity is not None else ""
    voice = script.utterance.emotion if script.utterance is not None else ""
    told = {e for e in (face, voice) if e}
    if len(told) > 1:
        told.discard("neutral")
    return told.pop() if len(told) == 1 and told <= set(VOICE_EMOTIONS) else ""


def evidence(script: Script) -> list[dict[str, Any]]:
    """Return what supports the emotion: `stream`, `start_s`, `end_s`, `text`, from the truth. The utterance must have been spoken."""
    found: list[dict[str, Any]] = []
    if script.identity is not None:
        shown = script.expressions[0] if script.expressions else None
        text = _units(shown.action_units) if shown else "nothing moves in the face"
        start, end = (shown.start_s, shown.end_s) if shown else (0.0, script.duration_s)
        found.append({"stream": "picture", "start_s": round(start, 1), "end_s": round(end, 1), "text": text})
    said = script.utterance
    if said is not None:
        times = {"start_s": round(said.start_s, 1), "end_s": round(said.end_s, 1)}
        found.append({"stream": "sound", **times, "text": words_for(said.emotion)})
        found.append({"stream": "words", **times, "text": f'"{said.text}" ({said.meaning})'})
    return found


def rationale(script: Script) -> str:
    """Return the emotion and its evidence in the form of `prompts/emotion_rationale.yaml`."""
    lines = [f"Emotion: {overall_emotion(script)}."]
    lines += [f"{e['stream'].capitalize()} {e['start_s']:.1f}-{e['end_s']:.1f} s: {e['text']}." for e in evidence(script)]
    return "\n".join(lines)
