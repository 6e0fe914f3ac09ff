"""Draws the script of a clip from (seed, split, index) alone; `world.yaml` holds every range and pool.

Attributes that are asked about are stratified over blocks of clips (each value once per block, in an order drawn for the
block), so that answers are near-uniform in any long run of indices, and are independent of each other.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import get_args

from unifusion.errors import ConfigError, nearest
from unifusion.world.draw import Draw
from unifusion.world.expression import AU_OF_EMOTION
from unifusion.world.prosody import prosody_of
from unifusion.world.scenes import Setting, arrange, grid_time, pool
from unifusion.world.script import EMOTIONS, Expression, Identity, Script, Sign, Split, Utterance
from unifusion.world.sentences import draw_utterance, estimate_s
from unifusion.world.world_file import ranges

__all__ = ["SPLITS", "VOICE_EMOTIONS", "check_request", "ground_of", "identity_of", "sample_script"]

SPLITS: tuple[str, ...] = get_args(Split)
VOICE_EMOTIONS = EMOTIONS[:7]
"""Voices and words carry these; contempt is for faces only."""


def sample_script(seed: int, index: int, *, split: Split = "train", duration_s: float = 6.0, size_px: int = 112) -> Script:
    """Return the script of one clip: a pure function, equal on every machine.

    `split` keeps clips apart even where seeds are equal, and chooses pools: `test_new_people` draws held-out identities and
    voices, `test_new_combinations` held-out sentences, colour-shape pairs and sound realisations.

    Raises:
        ConfigError: an unknown split, or a length or size outside the world file's range.
    """
    check_request(index, split, duration_s, size_px)
    draw = Draw("clip", seed, split, index)
    present = _presence(_stratum(seed, split, index, "presence", ranges()["presence"]["of"]))
    face, voice = _emotions(seed, split, index)
    identity = _identity(draw, split) if present["face"] else None
    utterance = draw_utterance(draw, split, voice, duration_s) if present["voice"] else None
    n_objects = _stratum(seed, split, index, "objects", ranges()["objects"]["counts"]) if present["picture"] else 0
    sign = _sign(draw, _stratum(seed, split, index, "sign", _sign_cells()), duration_s) if present["picture"] else None
    setting = Setting(
        draw=draw, split=split, duration_s=duration_s, n_objects=n_objects,
        has_face=identity is not None, has_sign=sign is not None, picture=present["picture"], sound=present["sound"],
    )  # fmt: skip
    name = _scene_name(draw, setting, utterance)
    scene = arrange(name, setting)
    if utterance is not None and scene.voice_db is not None:
        utterance = _centred(utterance, scene.voice_db, duration_s)
    return Script(
        seed=seed, index=index, split=split, duration_s=duration_s, rate_hz=ranges()["clip"]["rate_hz"], size_px=size_px,
        background_rgb=ground_of(draw), identity=identity,
        expressions=_expressions(draw, face, duration_s) if identity is not None else (),
        utterance=utterance, sounds=scene.sounds, background=scene.background, objects=scene.objects,
        sign=sign,
        has_picture=present["picture"], has_sound=present["sound"],
        agreement=("agree" if face == voice else "conflict") if identity is not None and utterance is not None else "",
        profile={"scene": name},
    )  # fmt: skip


def check_request(index: int, split: str, duration_s: float, size_px: int) -> None:
    """Refuse what the world file has no room for.

    Raises:
        ConfigError: naming the value, what is possible and the nearest match.
    """
    clip = ranges()["clip"]
    if split not in SPLITS:
        raise ConfigError(f"clip world has no split {split!r};", remedy=nearest(split, list(SPLITS)))
    if index < 0:
        raise ConfigError(f"clip index {index}, wanted 0 or more;", remedy="count clips from 0.")
    for name, found, unit in (("duration", duration_s, "s"), ("size", size_px, "px")):
        low, high = clip[f"min_{name}_{unit}"], clip[f"max_{name}_{unit}"]
        if not low <= found <= high:
            raise ConfigError(f"{name} of {found} {unit}, wanted {low} to {high};", remedy=f"choose a {name} in that range.")


@lru_cache(maxsize=4096)
def _order(seed: int, split: str, block: int, name: str, n: int) -> tuple[int, ...]:
    """The order in which the values 0..n-1 come in one block of n clips."""
    return tuple(Draw("block", seed, split, name, block).shuffled("order", range(n)))


def _stratum(seed: int, split: str, index: int, name: str, n: int) -> int:
    """A value in 0..n-1 that comes exactly once in each block of n clips."""
    return _order(seed, split, index // n, name, n)[index % n]


def _presence(cell: int) -> dict[str, bool]:
    """Which of picture, sound, face and voice are there: the first cells of the stratum lack one each."""
    counts = {k: v for k, v in ranges()["presence"].items() if k != "of"}
    lacking = ([name.removeprefix("no_") for name, n in counts.items() for _ in range(n)] + [""] * ranges()["presence"]["of"])[cell]
    picture, sound = lacking != "picture", lacking != "sound"
    return {"picture": picture, "sound": sound, "face": picture and lacking != "face", "voice": sound and lacking != "voice"}


def _emotions(seed: int, split: str, index: int) -> tuple[str, str]:
    """Emotions of face and voice: each alone is uniform, and they are equal in half of the clips whose face is not in contempt.

    Each face comes once in a block of 8 clips. Its partners are stratified over 84 such blocks: half the face's own emotion, half
    the six others equally; seven voices equally for contempt, which no voice has.
    """
    n = len(EMOTIONS)
    face = EMOTIONS[_stratum(seed, split, index, "face", n)]
    others = [e for e in VOICE_EMOTIONS if e != face]
    partners = [face] * 42 + [e for e in others for _ in range(7)] if len(others) == 6 else [e for e in others for _ in range(12)]
    return face, partners[_stratum(seed, split, index // n, f"voice/{face}", len(partners))]


@lru_cache(maxsize=2048)
def identity_of(number: int) -> Identity:
    """Return the looks of the identity with this id, drawn from the id alone."""
    draw, world = Draw("identity", number), ranges()["identity"]
    skin, hair = draw.pick("skin", world["skins"]), draw.pick("hair", world["hairs"])
    return Identity(
        seed=number, skin=(skin[0], skin[1], skin[2]), hair=(hair[0], hair[1], hair[2]),
        hair_style=draw.pick("style", world["hair_styles"]),
        face_width=draw.uniform("width", *world["face_width"]), face_height=draw.uniform("height", *world["face_height"]),
        eye_spacing=draw.uniform("eyes", *world["eye_spacing"]), glasses=bool(number & 1), beard=bool(number >> 1 & 1),
    )  # fmt: skip


def _identity(draw: Draw, split: Split) -> Identity:
    low, high = ranges()["identities"][pool(split, "people")]
    return identity_of(low + draw.integer("identity", high - low))


def _expressions(draw: Draw, emotion: str, duration_s: float) -> tuple[Expression, ...]:
    """One change from neutral to `emotion`; none for a neutral face."""
    if emotion == "neutral":
        return ()
    world = ranges()["expression"]
    last = max(duration_s - world["last_before_end_s"], world["first_s"])
    start = 0.0 if draw.chance("from_start", world["from_start"]) else grid_time(draw, "change", world["first_s"], last)
    apex = round(start + draw.uniform("rise", *world["rise_s"]), 3)
    offset, end = duration_s, duration_s
    room = duration_s - apex - world["hold_s"] - world["fall_s"][1]
    if room > 0 and draw.chance("returns", world["returns"]):
        offset = round(apex + world["hold_s"] + draw.uniform("hold", 0.0, room), 3)
        end = round(offset + draw.uniform("fall", *world["fall_s"]), 3)
    intensity = draw.uniform("face_intensity", *world["intensity"])
    units = AU_OF_EMOTION[emotion]
    return (Expression(emotion=emotion, intensity=intensity, start_s=start, apex_s=apex, offset_s=offset, end_s=end, action_units=units),)


def _scene_name(draw: Draw, setting: Setting, utterance: Utterance | None) -> str:
    """Which scene: drawn by the number of objects, so that arranged scenes do not tilt the count of objects."""
    weights: dict[str, int] = ranges()["scenes"][setting.n_objects]
    name = list(weights)[draw.weighted("scene", list(weights.values()))]
    fits = setting.picture and setting.sound and setting.duration_s >= ranges()["scene_min_s"]
    return name if fits and (name != "louder" or utterance is not None) else "plain"


def _centred(utterance: Utterance, voice_db: float, duration_s: float) -> Utterance:
    """The utterance in the middle of the clip, heard in both halves, and as loud as the scene asks for whatever its emotion."""
    voice_db -= prosody_of(utterance.emotion, utterance.intensity).level_db
    return replace(utterance, start_s=round(max((duration_s - estimate_s(utterance)) / 2, 0.1), 3), level_db=round(voice_db, 3))


def ground_of(draw: Draw) -> tuple[int, int, int]:
    """Return the colour behind everything."""
    low, high = ranges()["clip"]["background_rgb"]
    red, green, blue = (low + draw.integer(f"ground{i}", high - low + 1) for i in range(3))
    return red, green, blue


def _sign_cells() -> int:
    return sum(ranges()["sign"]["of"].values())


def _sign(draw: Draw, cell: int, duration_s: float) -> Sign | None:
    """A digit, a word or no sign."""
    world = ranges()["sign"]
    kind = [name for name, n in world["of"].items() for _ in range(n)][cell]
    if kind == "none":
        return None
    text = str(draw.integer("digit", 10)) if kind == "digit" else draw.pick("sign_word", world["words"])
    start = draw.uniform("sign_start", *world["appears_s"]) if draw.chance("sign_appears", world["appears"]) else 0.0
    return Sign(text=text, start_s=start, end_s=duration_s, x=world["x"], y=world["y"])
