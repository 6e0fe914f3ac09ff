"""Question families about the whole clip: emotion and why, valence and arousal, captions, matching texts."""

from __future__ import annotations

from functools import lru_cache

from unifusion.world.captions import blocks, caption, dense_description, evidence, overall_emotion, rationale
from unifusion.world.circumplex import clip_mean
from unifusion.world.draw import Draw
from unifusion.world.question import BOTH, Draft, Family, yes_no
from unifusion.world.sample import VOICE_EMOTIONS, sample_script
from unifusion.world.script import Script, Split

__all__ = ["FAMILIES"]

_LETTERS = ("A", "B", "C")
_TRIES = 12
_OTHER_SEED = 1_000_003
_OTHERS = 6720
"""Ten whole periods of the strata."""
_VA_TOLERANCE = 0.15


def _overall(script: Script, draw: Draw) -> Draft | None:
    """Where face and voice are there, emotions have a third more clear cases than neutral (the other stream neutral): thinned."""
    emotion = overall_emotion(script)
    if not emotion or script.profile.get("scene") == "louder":
        return None
    both = script.identity is not None and script.utterance is not None
    if both and emotion != "neutral" and not draw.chance("keep", 0.75):
        return None
    return Draft(answer=emotion, options=VOICE_EMOTIONS, stream_needs=_streams(script))


def _streams(script: Script) -> tuple[str, ...]:
    """The streams that hold the evidence."""
    return tuple(s for s, there in (("video", script.identity is not None), ("audio", script.utterance is not None)) if there)


def _rationale(script: Script, draw: Draw) -> Draft | None:
    draft = _overall(script, draw)
    if draft is None:
        return None
    labels = {"emotion": draft.answer, "evidence": evidence(script)}
    return Draft(answer=rationale(script), labels=labels, stream_needs=draft.stream_needs)


def _valence_arousal(script: Script, draw: Draw) -> Draft | None:
    if _overall(script, draw) is None:
        return None
    valence, arousal = (round(v, 1) + 0.0 for v in clip_mean(script))
    labels = {"valence": valence, "arousal": arousal}
    answer = f"valence {valence:.1f}, arousal {arousal:.1f}"
    return Draft(answer=answer, tolerance=_VA_TOLERANCE, labels=labels, stream_needs=_streams(script))


def _caption(script: Script, draw: Draw) -> Draft:
    del draw
    return Draft(answer=caption(script))


def _dense(script: Script, draw: Draw) -> Draft:
    del draw
    text = dense_description(script)
    return Draft(answer=text, texts={"description": text})


@lru_cache(maxsize=1 << 14)
def _glance(seed: int, index: int, split: Split, duration_s: float) -> tuple[str, tuple[bool, bool], dict[str, str]]:
    """Scene, presence of face and voice, and the parts of the caption of one clip."""
    script = sample_script(seed, index, split=split, duration_s=duration_s)
    return script.profile["scene"], _shown(script), blocks(script)


def _shown(script: Script) -> tuple[bool, bool]:
    return script.identity is not None, script.utterance is not None


def _others(script: Script, draw: Draw, part: str, wanted: int) -> list[str]:
    """Texts for one part of the caption, all different and different from the truth, drawn as clips are: they share its priors.

    They come from another seed's clips, so that none of this seed's is left out.
    """
    truth, found = blocks(script)[part], list[str]()
    for i in range(_TRIES * wanted):
        scene, shown, parts = _glance(script.seed + _OTHER_SEED, draw.integer(f"{part}{i}", _OTHERS), script.split, script.duration_s)
        if scene != script.profile.get("scene") or (part == "person" and shown != _shown(script)):
            continue
        if parts[part] and parts[part] != truth and parts[part] not in found:
            found.append(parts[part])
            if len(found) == wanted:
                break
    return found


def _parts(script: Script) -> list[str]:
    return [name for name, text in blocks(script).items() if text]


def _match(script: Script, draw: Draw) -> Draft | None:
    """Half of the texts are true; in the others one part (person, objects or sounds) is another clip's."""
    truth, parts = blocks(script), _parts(script)
    if not parts or script.profile.get("scene") != "plain":
        return None
    part = draw.pick("part", parts)
    others = _others(script, draw, part, 1)
    if not others:
        return None
    true = draw.chance("yes", 0.5)
    shown = truth if true else {**truth, part: others[0]}
    text = " ".join(t for t in shown.values() if t)
    draft = yes_no(true, text=text)
    return Draft(answer=draft.answer, options=draft.options, slots=draft.slots, labels={"match": true, "part": part}, texts={"text": text})


def _which_of(script: Script, draw: Draw) -> Draft | None:
    """Three texts about the same part of a clip, one of them this clip's."""
    parts = _parts(script)
    if not parts or script.profile.get("scene") != "plain":
        return None
    part = draw.pick("part", parts)
    others = _others(script, draw, part, len(_LETTERS) - 1)
    if len(others) < len(_LETTERS) - 1:
        return None
    truth = blocks(script)[part]
    texts = draw.shuffled("order", [truth, *others])
    labels = {"texts": texts, "option": texts.index(truth), "part": part}
    choices = " ".join(f"{letter}: {text}" for letter, text in zip(_LETTERS, texts, strict=True))
    return Draft(answer=_LETTERS[texts.index(truth)], options=_LETTERS, slots={"choices": choices}, labels=labels)


FAMILIES: dict[str, Family] = {
    "overall_emotion": Family(needs="all", streams=BOTH, build=_overall, weight=2.0),
    "emotion_rationale": Family(needs="all", streams=BOTH, build=_rationale, checker="free", timed=True, weight=2.0),
    "valence_arousal": Family(needs="all", streams=BOTH, build=_valence_arousal, checker="number"),
    "caption": Family(needs="all", streams=BOTH, build=_caption, checker="free"),
    "dense_description": Family(needs="all", streams=BOTH, build=_dense, checker="free", timed=True),
    "match": Family(needs="all", streams=BOTH, build=_match, weight=1.5),
    "which_of": Family(needs="all", streams=BOTH, build=_which_of, weight=1.5),
}
