"""A folder with a few made-up files of each set of people, laid out as the sets are, and a mixture of them."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
from PIL import Image

MIXTURE = """
voices: {dataset: emodb, path: emodb, weight: 2, thirds: {level_db: [-40.0, -30.0], pitch_hz: [120.0, 220.0]}}
digits: {dataset: fsdd, path: fsdd}
sounds: {dataset: esc10, path: esc10}
faces: {dataset: fer2013, path: fer2013}
together: {dataset: composed, faces: [faces], voices: [voices], sounds: [sounds], weight: 2}
lines: {dataset: meld, path: meld}
"""
SOUNDS = {
    "emodb": ("03a01Fa", "03a02Wb", "08a01Na", "11a01Fa", "11a02Wb", "14a01Fa", "14a02Wb"),  # speaker 11 is val, 14 is test
    "fsdd": ("7_jackson_3", "2_theo_4", "5_theo_2", "3_theo_1", "9_theo_3"),  # of theo, even takes are val and odd ones test
    "esc10": (
        "001 - Dog bark/1-100-A",
        "002 - Rain/1-200-A",
        "001 - Dog bark/4-4-A",
        "002 - Rain/4-4-B",
        "001 - Dog bark/5-5-A",
        "002 - Rain/5-5-B",
    ),
}
_HEADER = "Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID"


def write_people(root: Path) -> Path:
    """Fill a folder with half a second of each sound, stills of one grey each, and two lines; `mix.yaml` and `english.yaml` are in it."""
    t = np.arange(8000) / 16_000
    for folder, names in SOUNDS.items():
        for number, name in enumerate(names):
            path = root / folder / f"{name}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            with wave.open(str(path), "wb") as file:
                file.setparams((1, 2, 16_000, 0, "NONE", ""))
                file.writeframes((0.3 * np.sin(2 * np.pi * (150 + 100 * number) * t) * 32767).astype("<i2").tobytes())
    for split in ("train", "val"):
        for emotion, grey in (("happy", 200), ("angry", 90), ("neutral", 140)):
            folder = root / "fer2013" / split / emotion
            folder.mkdir(parents=True)
            for number in range(1, 5):
                Image.fromarray(np.full((48, 48), grey + number, np.uint8)).save(folder / f"{split}{number}.png")
    (root / "meld").mkdir()
    for part in ("train", "dev", "test"):
        rows = "1,Oh no!,Ross,sadness,negative,0,0\n2,Great!,Joey,joy,positive,0,1\n"
        (root / "meld" / f"{part}_sent_emo.csv").write_text(f"{_HEADER}\n{rows}", encoding="utf-8")
    (root / "english.yaml").write_text("lines: {dataset: meld, path: meld}\n", encoding="utf-8")
    (root / "mix.yaml").write_text(MIXTURE, encoding="utf-8")
    return root
