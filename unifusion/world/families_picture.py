"""Question families that need the picture."""

from __future__ import annotations

from unifusion.world.draw import Draw
from unifusion.world.expression import AU_OF_EMOTION
from unifusion.world.question import VIDEO, Draft, Family, an, yes_no
from unifusion.world.scenes import pool
from unifusion.world.script import COLOURS, DIRECTIONS, EMOTIONS, SHAPES, SIZES, ObjectTrack, Script
from unifusion.world.world_file import phrasings, ranges

__all__ = ["FAMILIES", "all_pairs", "face_emotion", "object_name"]


def face_emotion(script: Script) -> str:
    """Return the emotion the face shows: its one expression, else neutral."""
    return script.expressions[0].emotion if script.expressions else "neutral"


def object_name(track: ObjectTrack) -> str:
    """Return what an object is called: "red circle"."""
    return f"{track.colour} {track.shape}"


def all_pairs(script: Script) -> list[str]:
    """Return the names of all objects that clips of this split can hold."""
    held_out = {f"{colour} {shape}" for shape, colour in ranges()["objects"]["held_out_pairs"]}
    new = pool(script.split, "combinations") == "held_out"
    return [name for s in SHAPES for c in COLOURS if ((name := f"{c} {s}") in held_out) == new]


def _expression(script: Script, draw: Draw) -> Draft:
    del draw
    return Draft(answer=face_emotion(script), options=EMOTIONS)


def _action_unit(script: Script, draw: Draw) -> Draft | None:
    """Asked of emotions with a unit that no other emotion of the list has."""
    del draw
    words, signature = phrasings()["units"], phrasings()["signature"]
    emotion = face_emotion(script)
    if emotion not in signature:
        return None
    return Draft(answer=words[signature[emotion]], options=tuple(words[u] for u in signature.values()), labels={"unit": signature[emotion]})


def _action_unit_seen(script: Script, draw: Draw) -> Draft | None:
    """A unit is in 1 to 3 of 8 emotions: a "no" is kept just so often that both answers are equally likely for each unit."""
    unit = draw.pick("unit", phrasings()["asked_units"])
    having = sum(unit in units for units in AU_OF_EMOTION.values())
    seen = unit in AU_OF_EMOTION[face_emotion(script)]
    if not seen and not draw.chance("keep", having / (len(EMOTIONS) - having)):
        return None
    return yes_no(seen, unit=phrasings()["units"][unit])


def _object_colour(script: Script, draw: Draw) -> Draft | None:
    if not script.objects:
        return None
    track = draw.pick("object", script.objects)
    return Draft(answer=track.colour, options=COLOURS, slots={"shape": track.shape})


def _object_shape(script: Script, draw: Draw) -> Draft | None:
    """Asked where there is one object, and never by its colour: held-out pairs would tilt the answers."""
    del draw
    return Draft(answer=script.objects[0].shape, options=SHAPES) if len(script.objects) == 1 else None


def _object_direction(script: Script, draw: Draw) -> Draft | None:
    if not script.objects or script.profile.get("scene") == "louder":
        return None
    track = draw.pick("object", script.objects)
    return Draft(answer=track.direction, options=DIRECTIONS, slots={"shape": track.shape})


def _object_size(script: Script, draw: Draw) -> Draft | None:
    if not script.objects:
        return None
    track = draw.pick("object", script.objects)
    return Draft(answer=track.size, options=SIZES, slots={"shape": track.shape})


def _object_seen(script: Script, draw: Draw) -> Draft | None:
    """Half of the objects asked for are there; the others are drawn from the same pairs."""
    if not script.objects:
        return None
    there = [object_name(o) for o in script.objects]
    if draw.chance("yes", 0.5):
        return yes_no(True, object=an(draw.pick("object", there)))
    return yes_no(False, object=an(draw.pick("object", [name for name in all_pairs(script) if name not in there])))


def _objects_list(script: Script, draw: Draw) -> Draft | None:
    del draw
    if not script.objects:
        return None
    names = [object_name(o) for o in script.objects]
    return Draft(answer=" and ".join(names), labels={"space": len(all_pairs(script)) ** len(names)})


def _count_objects(script: Script, draw: Draw) -> Draft:
    del draw
    return Draft(answer=str(len(script.objects)), options=tuple(map(str, range(ranges()["objects"]["counts"]))))


def _sign_digit(script: Script, draw: Draw) -> Draft | None:
    del draw
    if script.sign is None or not script.sign.text.isdigit():
        return None
    return Draft(answer=script.sign.text, options=tuple(map(str, range(10))))


def _sign_word(script: Script, draw: Draw) -> Draft | None:
    del draw
    if script.sign is None or script.sign.text.isdigit():
        return None
    return Draft(answer=script.sign.text, options=tuple(ranges()["sign"]["words"]))


def _glasses(script: Script, draw: Draw) -> Draft | None:
    del draw
    return yes_no(script.identity.glasses) if script.identity is not None else None


def _beard(script: Script, draw: Draw) -> Draft | None:
    del draw
    return yes_no(script.identity.beard) if script.identity is not None else None


_FACE, _PICTURE = ("picture", "face"), ("picture",)
FAMILIES: dict[str, Family] = {
    "expression": Family(needs="picture", streams=VIDEO, build=_expression, requires=_FACE, refuses=True, weight=2.0),
    "action_unit": Family(needs="picture", streams=VIDEO, build=_action_unit, requires=_FACE),
    "action_unit_seen": Family(needs="picture", streams=VIDEO, build=_action_unit_seen, requires=_FACE, weight=1.5),
    "object_colour": Family(needs="picture", streams=VIDEO, build=_object_colour, requires=_PICTURE),
    "object_shape": Family(needs="picture", streams=VIDEO, build=_object_shape, requires=_PICTURE, weight=3.0),
    "object_direction": Family(needs="picture", streams=VIDEO, build=_object_direction, requires=_PICTURE),
    "object_size": Family(needs="picture", streams=VIDEO, build=_object_size, requires=_PICTURE),
    "object_seen": Family(needs="picture", streams=VIDEO, build=_object_seen, requires=_PICTURE),
    "objects_list": Family(needs="picture", streams=VIDEO, build=_objects_list, requires=_PICTURE, checker="set"),
    "count_objects": Family(needs="picture", streams=VIDEO, build=_count_objects, requires=_PICTURE, refuses=True, checker="number"),
    "sign_digit": Family(needs="picture", streams=VIDEO, build=_sign_digit, requires=_PICTURE, checker="number", weight=2.0),
    "sign_word": Family(needs="picture", streams=VIDEO, build=_sign_word, requires=_PICTURE, weight=3.0),
    "glasses": Family(needs="picture", streams=VIDEO, build=_glasses, requires=_FACE, refuses=True, weight=0.7),
    "beard": Family(needs="picture", streams=VIDEO, build=_beard, requires=_FACE, refuses=True, weight=0.7),
}
