"""Renders the clips that the demo offers: `python demo/make_examples.py [FOLDER]`.

Three clips of clip world with people, voices and sounds that no training clip has: a happy face with a happy voice, a happy face
with an angry voice, and objects that come one after the other while a bell rings and somebody knocks.
"""

from __future__ import annotations

import sys
from pathlib import Path

from unifusion.world.expression import AU_OF_EMOTION
from unifusion.world.render import render, write_mp4
from unifusion.world.sample import identity_of
from unifusion.world.script import Background, Expression, ObjectTrack, Script, SoundEvent, Utterance
from unifusion.world.sentences import voice_of

__all__ = ["SCRIPTS", "main"]

SIZE_PX = 336
SECONDS = 6.0
MAX_BYTES = 1_000_000


def _face(emotion: str, start_s: float) -> tuple[Expression, ...]:
    """A face that turns from neutral to `emotion` and stays."""
    return (
        Expression(
            emotion=emotion,
            intensity=0.95,
            start_s=start_s,
            apex_s=start_s + 0.4,
            offset_s=SECONDS,
            end_s=SECONDS,
            action_units=AU_OF_EMOTION[emotion],
        ),
    )


def _says(text: str, meaning: str, emotion: str, voice: int, start_s: float) -> Utterance:
    return Utterance(
        voice=voice_of(voice, held_out=True),
        language="english",
        text=text,
        meaning=meaning,
        emotion=emotion,
        intensity=0.95,
        tempo="normal",
        start_s=start_s,
    )


def _object(shape: str, colour: str, direction: str, span: tuple[float, float], at: tuple[float, float]) -> ObjectTrack:
    return ObjectTrack(
        shape=shape, colour=colour, size="large", direction=direction, start_s=span[0], end_s=span[1], x=at[0], y=at[1], speed=0.2, seed=7
    )


SCRIPTS = {
    "happy-face-happy-voice": Script(
        seed=2026,
        index=1,
        split="test_new_people",
        duration_s=SECONDS,
        size_px=SIZE_PX,
        background_rgb=(128, 144, 169),
        identity=identity_of(1026),
        expressions=_face("happy", 1.0),
        utterance=_says("we are happy with the garden", "happy", "happy", 101, 1.4),
        agreement="agree",
    ),
    "happy-face-angry-voice": Script(
        seed=2026,
        index=2,
        split="test_new_people",
        duration_s=SECONDS,
        size_px=SIZE_PX,
        background_rgb=(123, 79, 96),
        identity=identity_of(1056),
        expressions=_face("happy", 1.0),
        utterance=_says("the book is over there", "neutral", "angry", 108, 1.4),
        agreement="conflict",
    ),
    "objects-and-sounds": Script(
        seed=2026,
        index=3,
        split="test_new_combinations",
        duration_s=SECONDS,
        size_px=SIZE_PX,
        background_rgb=(156, 198, 200),
        objects=(
            _object("circle", "blue", "right", (0.0, 2.0), (0.25, 0.35)),
            _object("star", "orange", "bounce", (2.2, 3.9), (0.5, 0.5)),
            _object("triangle", "purple", "circle", (4.1, 5.8), (0.6, 0.55)),
        ),
        sounds=(
            SoundEvent(kind="bell", start_s=2.6, end_s=3.6, level_db=-16.0, seed=9001),
            SoundEvent(kind="knocking", start_s=4.4, end_s=5.6, level_db=-16.0, count=3, seed=9002),
        ),
        background=Background(kind="rain", snr_db=24.0, seed=9003),
    ),
}


def main(folder: str | Path | None = None) -> list[Path]:
    """Write the clips and return their paths.

    Raises:
        ValueError: a clip came out larger than may ship.
    """
    out = Path(folder) if folder is not None else Path(__file__).resolve().parent / "examples"
    out.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, script in SCRIPTS.items():
        path = out / f"{name}.mp4"
        write_mp4(path, *render(script))
        if path.stat().st_size > MAX_BYTES:
            raise ValueError(f"{path} has {path.stat().st_size} bytes, at most {MAX_BYTES} may ship.")
        print(f"{path}: {path.stat().st_size // 1024} KiB")
        paths.append(path)
    return paths


if __name__ == "__main__":
    main(*sys.argv[1:2])
