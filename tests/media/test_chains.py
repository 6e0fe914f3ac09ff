"""What a demuxer skips without a word: bytes between a Matroska file's blocks, packets missing from a transport stream."""

import io

import av
import numpy as np
import pytest

from tests.media import clips
from unifusion.errors import MediaError
from unifusion.media import Sampling, read_clip
from unifusion.media.matroska import Elements
from unifusion.media.transport import Continuity


def read(data, **options):
    return read_clip(bytes(data), video=Sampling(count=8), audio=True, **options)


def positions(data):
    with av.open(io.BytesIO(data)) as container:
        return [(p.pos, p.size, p.stream.type) for p in container.demux() if p.size and p.pos is not None]


def live():
    """A Matroska file as a camera streams it: clusters of unknown length, no index."""
    out = io.BytesIO()
    with av.open(io.BytesIO(clips.make("mkv").data)) as source, av.open(out, "w", format="matroska", options={"live": "1"}) as sink:
        streams = {s.index: sink.add_stream_from_template(s) for s in source.streams}
        for packet in source.demux():
            if packet.dts is not None:
                packet.stream = streams[packet.stream.index]
                sink.mux(packet)
    return out.getvalue()


@pytest.mark.parametrize("name", ["mkv", "mkv_no_index", "mkv_av1", "webm_vp8", "webm_vp9", "live"])
def test_every_block_of_a_whole_file_is_reached(name):
    data = live() if name == "live" else clips.make(name).data
    elements = Elements(io.BytesIO(data))
    found = positions(data)
    assert len(found) > 50 and all(elements.lead_to(position) for position, _, _ in found)
    assert elements.lead_to(found[0][0])
    assert len(read(data).frames_THWC) == 8


@pytest.mark.parametrize("name", ["mkv", "webm_vp9"])
def test_a_hole_between_blocks_is_damage(name):
    data = bytearray(clips.make(name).data)
    sounds = [(position, size) for position, size, kind in positions(bytes(data)) if kind == "audio"]
    at, size = sounds[len(sounds) // 2]
    data[at - 4 : at + size - 4] = bytes(size)  # the header of the next block is gone too
    elements = Elements(io.BytesIO(bytes(data)))
    assert not all(elements.lead_to(position) for position, _, _ in positions(bytes(data)))
    with pytest.raises(MediaError, match="the file is damaged or cut off"):
        read(data)
    assert read(data, strict=False).frames_THWC is not None


def test_the_position_of_the_file_is_left_alone():
    handle = io.BytesIO(clips.make("mkv").data)
    handle.seek(17)
    Elements(handle).lead_to(5000)
    Continuity(handle, [256]).lead_to(5000)
    assert handle.tell() == 17


@pytest.mark.parametrize("name", ["ts", "ts_copied", "ts_open_gop", "mpeg2_ts", "ts_cut"])
def test_a_whole_transport_stream_follows(name):
    clip = clips.make(name)
    with av.open(io.BytesIO(clip.data)) as container:
        pids = [s.id for s in container.streams]
    assert Continuity(io.BytesIO(clip.data), pids).lead_to(len(clip.data))


@pytest.mark.parametrize("cut", [188, 86, 376])
def test_packets_that_are_missing_are_damage(cut):
    data = clips.make("ts").data
    with av.open(io.BytesIO(data)) as container:
        pid = container.streams.video[0].id
    packets = np.frombuffer(data, np.uint8).reshape(-1, 188)
    mine = np.flatnonzero(((packets[:, 1] & 0x1F).astype(int) << 8 | packets[:, 2]) == pid)
    at = int(mine[len(mine) // 2]) * 188
    broken = data[:at] + data[at + cut :]
    assert not Continuity(io.BytesIO(broken), [pid]).lead_to(len(broken))
    with pytest.raises(MediaError):
        read(broken)


def test_an_announced_jump_and_a_packet_sent_twice_are_none():
    def packet(count, announced=False):
        head = bytes([0x47, 1, 0, 0x30 | count, 1, 0x80 if announced else 0])
        return head + bytes(188 - len(head))

    whole = b"".join(packet(c) for c in (3, 4, 4, 5)) + packet(11, announced=True) + packet(12)
    assert Continuity(io.BytesIO(whole), [256]).lead_to(len(whole))
    jump = b"".join(packet(c) for c in (3, 4, 6, 7))
    assert not Continuity(io.BytesIO(jump), [256]).lead_to(len(jump))
    assert Continuity(io.BytesIO(jump), [257]).lead_to(len(jump))
