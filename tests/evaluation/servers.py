"""An OpenAI-compatible server that looks at and listens to what it is sent, and answers from that alone."""

import base64
import io
import json
import threading
import wave
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import av
import numpy as np
from PIL import Image

from unifusion.media.sound import resampled

RATE_HZ = 16_000
TONES = {"low": 300.0, "high": 2400.0}
COLOURS = {"red": (230, 20, 20), "blue": (20, 20, 230)}


def tone(name, seconds):
    return (0.4 * np.sin(2 * np.pi * TONES[name] * np.arange(round(seconds * RATE_HZ)) / RATE_HZ)).astype(np.float32)


def frames(name, count, size=48):
    return np.broadcast_to(np.array(COLOURS[name], np.uint8), (count, size, size, 3)).copy()


def colour(frame_HWC):
    """The nearest colour of a picture."""
    return min(COLOURS, key=lambda c: np.abs(frame_HWC.reshape(-1, 3).mean(0) - COLOURS[c]).sum())


def pitch(waveform_N, rate_hz):
    """The nearest tone of a sound, or silent."""
    if not len(waveform_N) or np.abs(waveform_N).max() < 0.02:
        return "silent"
    spectrum = np.abs(np.fft.rfft(resampled(np.asarray(waveform_N, np.float32), rate_hz, RATE_HZ)))
    peak = np.fft.rfftfreq(2 * (len(spectrum) - 1), 1 / RATE_HZ)[spectrum.argmax()]
    return min(TONES, key=lambda t: abs(TONES[t] - peak))


def of_film(data):
    """Colours in order and tone of a film."""
    with av.open(io.BytesIO(data)) as container:
        seen = [colour(f.to_ndarray(format="rgb24")) for f in container.decode(video=0)]
    said = "no sound"
    with av.open(io.BytesIO(data)) as container:
        if container.streams.audio:
            heard = [f.to_ndarray().mean(0) for f in container.decode(audio=0)]
            said = pitch(np.concatenate(heard), container.streams.audio[0].rate)
    return f"film of {' then '.join(dict.fromkeys(seen))} with {said}"


def of_part(part):
    """One content part in words."""
    if part["type"] == "text":
        return ""
    if part["type"] == "input_audio":
        with wave.open(io.BytesIO(base64.b64decode(part["input_audio"]["data"]))) as sound:
            waveform = np.frombuffer(sound.readframes(sound.getnframes()), "<i2") / 32768
            return f"sound of {pitch(waveform, sound.getframerate())} {len(waveform) / sound.getframerate():.1f} s"
    head, data = part[part["type"]]["url"].split(",")
    data = base64.b64decode(data)
    if part["type"] == "video_url":
        return of_film(data)
    assert head.startswith("data:image/")
    return f"picture of {colour(np.asarray(Image.open(io.BytesIO(data)).convert('RGB')))}"


def looks(body):
    """The answer to a request."""
    content = body["messages"][-1]["content"]
    parts = [] if isinstance(content, str) else content
    return ", ".join(filter(None, map(of_part, parts))) or "nothing"


def told(text, finish="stop", tokens=3):
    choice = {"message": {"role": "assistant", "content": text}, "finish_reason": finish}
    return 200, {"choices": [choice], "usage": {"completion_tokens": tokens}}


@contextmanager
def running(handler):
    """Serve by a handler of requests; yields the address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def serving(answer=lambda body: told(looks(body))):
    """Serve `answer(body) -> (status, JSON)`; yields the address and what was asked."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked.append({"path": self.path, "key": self.headers.get("Authorization"), "body": body})
            status, reply = answer(body)
            data = json.dumps(reply).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_):
            pass

    with running(Handler) as url:
        yield url, asked
