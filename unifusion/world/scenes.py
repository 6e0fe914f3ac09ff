"""What happens around the person of a clip: sounds, noise bed and objects, and how they lie in time.

`plain` scatters them; `on_screen`, `after` and `louder` arrange them so that a question about picture and sound together
has an answer that neither stream gives away alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

from unifusion.world.draw import Draw
from unifusion.world.effects import minimum_seconds
from unifusion.world.script import COLOURS, DIRECTIONS, SHAPES, SIZES, Background, ObjectTrack, SoundEvent, Split
from unifusion.world.world_file import ranges

__all__ = ["Scene", "arrange", "grid_time", "pool", "sound_kind"]


@dataclass(frozen=True, kw_only=True)
class Scene:
    """Sounds, bed and objects of one clip; `voice_db` is set where the voice's level is part of the question."""

    sounds: tuple[SoundEvent, ...] = ()
    background: Background | None = None
    objects: tuple[ObjectTrack, ...] = ()
    voice_db: float | None = None


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What the arrangement of a scene has to know of its clip."""

    draw: Draw
    split: Split
    duration_s: float
    n_objects: int
    has_face: bool
    has_sign: bool
    picture: bool
    sound: bool


def pool(split: Split, name: str) -> str:
    """Return which pool, `train` or `held_out`, a split draws `people`, or `combinations` of other things, from."""
    held_out = {"people": "test_new_people", "combinations": "test_new_combinations"}[name]
    return "held_out" if split == held_out else "train"


def grid_time(draw: Draw, name: str, low: float, high: float) -> float:
    """Return a time near a multiple of the grid in [low, high]; each multiple is equally likely."""
    clip = ranges()["clip"]
    steps = max(int((high - low) / clip["grid_s"] + 1e-6), 0) + 1
    exact: float = low + draw.integer(name, steps) * clip["grid_s"]
    return round(exact + draw.uniform(name + "/jitter", -clip["jitter_s"], clip["jitter_s"]), 3)


def arrange(scene: str, setting: Setting) -> Scene:
    """Return the scene of that name."""
    return {"plain": _plain, "on_screen": _on_screen, "after": _after, "louder": _louder}[scene](setting)


def sound_kind(draw: Draw, name: str, kinds: list[str]) -> str:
    """Return one of the kinds, equally likely; `chord` becomes major or minor."""
    kind = draw.pick(name, kinds)
    return f"chord {draw.pick(name + '/mode', ['major', 'minor'])}" if kind == "chord" else kind


def _all_kinds() -> list[str]:
    world = ranges()["sounds"]
    return [*world["short"], *world["beds"]]


def _event(setting: Setting, name: str, kind: str, start_s: float, room_s: float) -> SoundEvent:
    """An event of `kind` from `start_s` that lasts at most `room_s`: as many strokes as drawn and as fit."""
    draw, world = setting.draw, ranges()["sounds"]
    count = 1
    if kind in world["counts"]:
        low, high = world["counts"][kind]
        count = low + draw.integer(name + "/count", high - low + 1)
        while count > 1 and minimum_seconds(kind, count) > room_s:
            count -= 1
        length = minimum_seconds(kind, count) * draw.uniform(name + "/stretch", *world["stretch"])
    else:
        length = draw.uniform(name + "/length", *world["length_s"])
    seeds = ranges()["sound_seeds"][pool(setting.split, "combinations")]
    return SoundEvent(
        kind=kind,
        start_s=start_s,
        end_s=round(start_s + min(length, room_s), 3),
        level_db=draw.uniform(name + "/level", *world["level_db"]),
        count=count,
        seed=seeds[0] + draw.integer(name + "/seed", seeds[1] - seeds[0]),
    )


def _plain(setting: Setting) -> Scene:
    """Events at any time, a noise bed now and then, objects that stay or come and go."""
    spans = [_stay(setting, i) for i in range(setting.n_objects)]
    objects = _objects(setting, spans) if setting.picture else ()
    if not setting.sound:
        return Scene(objects=objects)
    draw, world = setting.draw, ranges()["sounds"]
    background = None
    if draw.chance("bed", world["bed_share"]):
        seeds = ranges()["sound_seeds"][pool(setting.split, "combinations")]
        seed = seeds[0] + draw.integer("bed/seed", seeds[1] - seeds[0])
        background = Background(kind=draw.pick("bed/kind", world["beds"]), snr_db=draw.uniform("bed/snr", *world["bed_snr_db"]), seed=seed)
    return Scene(sounds=_scatter(setting, background.kind if background else ""), background=background, objects=objects)


def _scatter(setting: Setting, bed: str) -> tuple[SoundEvent, ...]:
    """0, 1 or 2 events of different kinds that do not overlap; none is of the bed's kind."""
    draw, world = setting.draw, ranges()["sounds"]
    kinds = draw.shuffled("kinds", [k for k in _all_kinds() if k != bed])
    last = setting.duration_s - world["last_before_end_s"]
    events: list[SoundEvent] = []
    for i in range(draw.weighted("events", world["events"])):
        for attempt in range(6):
            name = f"sound{i}/{attempt}"
            start = grid_time(draw, name, world["first_s"], last) if last >= world["first_s"] else round(setting.duration_s / 4, 3)
            event = _event(setting, name, sound_kind(draw, f"sound{i}", kinds[i : i + 1]), start, setting.duration_s - start - 0.05)
            gap = world["gap_s"]
            if all(event.start_s >= e.end_s + gap or e.start_s >= event.end_s + gap for e in events):
                events.append(event)
                break
    return tuple(sorted(events, key=lambda e: e.start_s))


def _on_screen(setting: Setting) -> Scene:
    """Objects one after the other, and one short sound while one of them is there."""
    draw, slots = setting.draw, setting.n_objects
    width = (setting.duration_s - 0.4) / slots
    spans = [(round(0.2 + i * width + 0.1, 3), round(0.2 + (i + 1) * width - 0.1, 3)) for i in range(slots)]
    start, end = spans[draw.integer("slot", slots)]
    start = round(start + draw.uniform("delay", 0.2, 0.4), 3)
    kind = sound_kind(draw, "sound0", ranges()["sounds"]["short"])
    return Scene(sounds=(_event(setting, "sound0", kind, start, end - start - 0.1),), objects=_objects(setting, spans))


def _after(setting: Setting) -> Scene:
    """Objects that appear one by one and stay, and a short sound just before one of them."""
    draw, n = setting.draw, setting.n_objects
    step = (setting.duration_s - 1.2) / n
    starts = [round(1.2 + i * step + draw.uniform(f"late{i}", 0.0, 0.2), 3) for i in range(n)]
    sound_start = round(starts[draw.integer("slot", n)] - draw.uniform("ahead", 0.85, 1.0), 3)
    kind = sound_kind(draw, "sound0", ranges()["sounds"]["short"])
    event = _event(setting, "sound0", kind, sound_start, 0.75)
    return Scene(sounds=(event,), objects=_objects(setting, [(s, setting.duration_s) for s in starts]))


def _louder(setting: Setting) -> Scene:
    """A noise that is louder than the voice in one half and softer in the other; one object moves in one of the halves."""
    draw, world, half = setting.draw, ranges()["louder"], setting.duration_s / 2
    kind, voice_db = draw.pick("sound0", world["kinds"]), draw.uniform("voice_db", *world["voice_db"])
    order = draw.shuffled("order", ["above_db", "below_db"])
    first = draw.integer("half", 2)
    seeds = ranges()["sound_seeds"][pool(setting.split, "combinations")]
    seed = seeds[0] + draw.integer("sound0/seed", seeds[1] - seeds[0])
    sounds = tuple(
        SoundEvent(
            kind=kind,
            start_s=round(i * half, 3),
            end_s=round((i + 1) * half, 3),
            level_db=round(voice_db + draw.uniform(side, *world[side]), 2),
            seed=seed,
        )
        for i, side in enumerate(order)
    )
    span = (round(first * half + 0.1, 3), round((first + 1) * half - 0.1, 3))
    return Scene(sounds=sounds, objects=_objects(setting, [span], moving=True), voice_db=voice_db)


def _stay(setting: Setting, i: int) -> tuple[float, float]:
    """From when to when object `i` of a plain clip is there: always, or from a time on the grid."""
    draw, world = setting.draw, ranges()["objects"]
    last = setting.duration_s - world["last_before_end_s"]
    if draw.chance(f"stay{i}", world["whole_clip"]) or last < world["first_s"]:
        return 0.0, setting.duration_s
    return grid_time(draw, f"appear{i}", world["first_s"], last), setting.duration_s


def _objects(setting: Setting, spans: list[tuple[float, float]], *, moving: bool = False) -> tuple[ObjectTrack, ...]:
    """Objects of different shapes and colours, one for each span."""
    draw, world = setting.draw, ranges()["objects"]
    held_out = {(shape, colour) for shape, colour in world["held_out_pairs"]}
    new = pool(setting.split, "combinations") == "held_out"
    free = [pair for pair in product(SHAPES, COLOURS) if (pair in held_out) == new]
    across = world["beside_face_x"] if setting.has_face else world["lone_x"]
    down = world["below_sign_y"] if setting.has_sign else world["y"]
    directions = [d for d in DIRECTIONS if d != "still"] if moving else list(DIRECTIONS)
    found = []
    for i, (start, end) in enumerate(spans):
        shape, colour = draw.pick(f"pair{i}", free)
        free = [(s, c) for s, c in free if s != shape and c != colour]
        direction = draw.pick(f"direction{i}", directions)
        found.append(
            ObjectTrack(
                shape=shape, colour=colour, size=draw.pick(f"size{i}", SIZES), direction=direction, start_s=start, end_s=end,
                x=_place(draw, "x", i, len(spans), across), y=_place(draw, "y", i, len(spans), down),
                speed=draw.uniform(f"speed{i}", *world["speed"][direction]), seed=draw.integer(f"object{i}", 1 << 16),
            )
        )  # fmt: skip
    return tuple(found)


def _place(draw: Draw, axis: str, i: int, n: int, low_high: list[float]) -> float:
    """A place in the i-th of n bands along an axis, in an order drawn for the clip: objects keep out of each other's lanes."""
    low, high = low_high
    band = draw.shuffled(f"bands {axis}", range(n))[i]
    return draw.uniform(f"{axis}{i}", low + (high - low) * band / n, low + (high - low) * (band + 1) / n)
