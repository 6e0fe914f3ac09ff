"""An OpenAI-compatible server that a test runs and that judges by a function of what it is shown."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler

from tests.evaluation.servers import running


@contextmanager
def judging(decide):
    """Serve `decide(user text) -> reply, or a status code`; yields the address and the bodies that came."""
    asked, lock = [], threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with lock:
                asked.append(body)
            told = decide(body["messages"][-1]["content"])
            code = told if isinstance(told, int) else 200
            reply = {"error": "no"} if isinstance(told, int) else {"model": "big-0613", "choices": [{"message": {"content": told}}]}
            data = json.dumps(reply).encode()
            self.send_response(code)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_):
            pass

    with running(Handler) as url:
        yield url, asked


def right_if_same(text):
    """Video-ChatGPT's dictionary: yes where the prediction is the correct answer."""
    lines = dict(line.split(": ", 1) for line in text.splitlines() if ": " in line)
    same = lines["Predicted Answer"] == lines["Correct Answer"]
    return "{'pred': 'yes', 'score': 5}" if same else "{'pred': 'no', 'score': 1}"
