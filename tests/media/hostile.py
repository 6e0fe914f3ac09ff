"""Files and names that try to make a decoder read something else, or too much."""

from __future__ import annotations

import http.server
import io
import os
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
import numpy as np

from tests.media import clips


class _Canary(http.server.BaseHTTPRequestHandler):
    """Counts requests; /redirect leads on to /file."""

    hits: list[str] = []  # noqa: RUF012 - shared on purpose, emptied by `canary`

    def do_GET(self) -> None:
        """Note the request and answer."""
        self.hits.append(self.path)
        if self.path.startswith("/redirect"):
            self.send_response(302)
            self.send_header("Location", "/file.ts")
        else:
            self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Stay silent."""


@contextmanager
def canary() -> Iterator[tuple[str, list[str]]]:
    """A loopback server: its address, and the requests it saw."""
    _Canary.hits.clear()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Canary)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", _Canary.hits
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def attacks(folder: Path, address: str) -> dict[str, str]:
    """Write the hostile files and return what would be given as a path, by name. `victim.ts` is another user's clip."""
    victim = folder / "other" / "victim.ts"
    victim.parent.mkdir()
    victim.write_bytes(clips.make("ts").data)
    mine = folder / "mine"
    mine.mkdir()

    def playlist(name: str, entry: str) -> str:
        (mine / name).write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:2.4,\n{entry}\n#EXT-X-ENDLIST\n")
        return str(mine / name)

    def text(name: str, content: str) -> str:
        (mine / name).write_text(content)
        return str(mine / name)

    os.mkfifo(mine / "pipe.mp4")
    (mine / "link.mp4").symlink_to("/dev/zero")
    sibling = "../other/victim.ts"
    mpd = f'<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><BaseURL>{address}/</BaseURL></MPD>'
    return {
        "url": f"{address}/clip.mp4",
        "url_redirect": f"{address}/redirect",
        "file_url": f"file://{victim}",
        "concat_protocol": f"concat:{victim}|{victim}",
        "subfile_protocol": f"subfile,,start,0,end,0,,:{victim}",
        "m3u8_to_http": playlist("a.m3u8", f"{address}/seg.ts"),
        "m3u8_to_file_url": playlist("b.m3u8", f"file://{victim}"),
        "m3u8_to_sibling": playlist("c.m3u8", sibling),
        "m3u8_named_mp4": playlist("d.mp4", sibling),
        "m3u8_named_ts": playlist("e.ts", f"{address}/seg.ts"),
        "ffconcat_named_mp4": text("f.mp4", f"ffconcat version 1.0\nfile '{sibling}'\n"),
        "dash_named_mp4": text("g.mp4", mpd),
        "sdp_named_mp4": text("h.mp4", "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nc=IN IP4 127.0.0.1\r\nm=video 9 RTP/AVP 96\r\n"),
        "pipe": str(mine / "pipe.mp4"),
        "device_by_link": str(mine / "link.mp4"),
        "folder": str(mine),
    }


def huge_picture(side: int = 8192) -> bytes:
    """An mp4 of one `side` x `side` frame."""
    sink = io.BytesIO()
    with av.open(sink, "w", format="mp4") as out:
        video: Any = out.add_stream("libx264", rate=25, options={"preset": "ultrafast"})
        video.width, video.height, video.pix_fmt = side, side, "yuv420p"
        frame = av.VideoFrame(side, side, "yuv420p")
        for plane in frame.planes:
            plane.update(bytes(plane.buffer_size))
        frame.pts = 0
        out.mux(video.encode(frame))
        out.mux(video.encode(None))
    return sink.getvalue()


def huge_png(side: int = 50_000) -> bytes:
    """The header of a `side` x `side` PNG and nothing more."""
    import zlib

    body = b"IHDR" + struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))
    data = b"IDAT" + zlib.compress(b"\0" * 100)
    return b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", len(data) - 4) + data + struct.pack(">I", zlib.crc32(data))


def many_frames(count: int = 2_000_000) -> bytes:
    """An mp4 whose header declares `count` frames, in a file of a few hundred bytes: one sample size and one duration for all."""
    data = bytearray(clips.encode(frames=2, audio=None, options={**clips.X264, "bf": "0"}))
    at = data.find(b"stts")
    data[at + 8 : at + 16] = struct.pack(">II", 1, count)
    at = data.find(b"stsz")
    data[at + 8 : at + 16] = struct.pack(">II", 1, count)
    return bytes(data)


def really_many_frames(count: int) -> bytes:
    """An mp4 that does hold `count` small frames: one packet, copied."""
    sink = io.BytesIO()
    with av.open(sink, "w", format="mp4") as out:
        video: Any = out.add_stream("libx264", rate=400, options={"preset": "ultrafast"})
        video.width, video.height, video.pix_fmt = 16, 16, "yuv420p"
        packets = []
        for n in range(2):
            frame = av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8), format="rgb24")
            frame.pts = n
            packets += video.encode(frame)
        packets += video.encode(None)
        first, later, base = bytes(packets[0]), bytes(packets[1]), packets[0].time_base
        for n in range(count):
            packet = av.Packet(later if n else first)
            packet.stream, packet.time_base = video, base
            packet.pts = packet.dts = n
            out.mux(packet)
    return sink.getvalue()


def fast_rate(rate: int = 1000) -> bytes:
    """An mp4 of 8 frames at `rate` per second."""
    sink = io.BytesIO()
    with av.open(sink, "w", format="mp4") as out:
        video: Any = out.add_stream("libx264", rate=rate, options={"preset": "ultrafast"})
        video.width, video.height, video.pix_fmt = clips.WIDTH, clips.HEIGHT, "yuv420p"
        for n in range(8):
            out.mux(video.encode(av.VideoFrame.from_ndarray(clips.barcode(n), format="rgb24")))
        out.mux(video.encode(None))
    return sink.getvalue()


def long_opus(hours: float = 10.0) -> bytes:
    """Opus in Ogg whose last page is stamped `hours` later: the length FFmpeg believes."""
    sink = io.BytesIO()
    with av.open(sink, "w", format="ogg") as out:
        sound: Any = out.add_stream("libopus", rate=48_000, layout="mono")
        for n in range(60):
            wave = clips.tone((n + 1) * 0.02)[-960:]
            frame = av.AudioFrame.from_ndarray(wave[None], format="flt", layout="mono")
            frame.sample_rate, frame.pts = 48_000, n * 960 + (0 if n < 30 else int(hours * 3600 * 48_000))
            out.mux(sound.encode(frame))
        out.mux(sound.encode(None))
    return sink.getvalue()
