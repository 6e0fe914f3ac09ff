"""Servers that fail in every way that they are known to: what is asked again, what is counted apart, where the key goes."""

import json
import threading
from collections import Counter
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from time import sleep

import pytest

from tests.evaluation.servers import running

KEY = "sk-very-secret-1234"


def chat(content, finish="stop", **more):
    return {"choices": [{"message": {"role": "assistant", "content": content, **more}, "finish_reason": finish}], "model": "big-1"}


GOOD = {
    "plain": [chat("blue")], "parts": [chat([{"type": "text", "text": "bl"}, {"type": "text", "text": "ue"}])],
    "think": [chat("<think>red? no.\n</think>\n\nblue")], "reasons": [chat("blue", reasoning_content="red? no.")],
    "busy": [(429, {"Retry-After": "0"}, {"error": {"message": f"slow down {KEY}"}}), chat("blue")],
    "down": [(503, {}, {}), (500, {}, {}), chat("blue")], "torn": [b'{"choices": [{"mess', chat("blue")],
}  # fmt: skip
WRONG = {"refuses": [chat(None, refusal="I cannot help with that.")], "empty": [chat("")]}
FAILED = {
    "no ears": [(400, {}, {"error": {"message": f"no audio here, {KEY}"}})], "no choice": [{"choices": []}],
    "only thoughts": [chat(None, "length", reasoning_content="red? no")], "cut thought": [chat("<think>red? n", "length")],
    "streams": [b'data: {"choices": [{"delta": {"content": "bl"}}]}\n\ndata: [DONE]\n\n'], "long": [b"x" * (9 * 1024**2)],
}  # fmt: skip


@contextmanager
def faulty(replies, delay_s=0.0):
    """Serve lists of replies by question, the last again and again; yields the address and how often each was asked."""
    asked, bodies, lock = Counter(), [], threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            question = next(name for name in replies if f"{name}?" in str(body["messages"][-1]["content"]))
            with lock:
                told = replies[question][min(asked[question], len(replies[question]) - 1)]
                asked[question] += 1
                bodies.append((body, self.headers.get("Authorization")))
            sleep(delay_s)
            code, headers, told = told if isinstance(told, tuple) else (200, {}, told)
            data = told if isinstance(told, bytes) else json.dumps(told).encode()
            self.send_response(code)
            for name, value in {**headers, "Content-Length": str(len(data))}.items():
                self.send_header(name, value)
            self.end_headers()
            try:
                self.wfile.write(data)
            except OSError:  # whoever asked has read enough
                self.close_connection = True

        def log_message(self, *_):
            pass

    with running(Handler) as url:
        yield url, asked, bodies


@pytest.fixture
def rows(tmp_path, monkeypatch):
    """Questions in words; no waiting between attempts."""
    monkeypatch.setenv("THE_KEY", KEY)
    monkeypatch.setattr("unifusion.wire.time.sleep", lambda _: None)

    def write(names):
        path = tmp_path / "rows.jsonl"
        path.write_text(
            "".join(json.dumps({"id": n, "question": f"{n}?", "answer": "blue", "transcript": "the sky"}) + "\n" for n in names)
        )
        return path

    return write


def endpoint(url, rows, out, *more):
    given = ("--endpoint", url, "--endpoint-model", "big", "--endpoint-key-env", "THE_KEY", "--dataset", "messages", "--task", "open_qa")
    return ("eval", "small", *given, "--data", rows, "-o", out, "--conditions", "all", "--resamples", "20", *more)


def everything_in(folder):
    return "".join(p.read_text(encoding="utf-8", errors="replace") for p in folder.rglob("*") if p.is_file())


def test_failures_are_asked_again_or_counted_apart_and_the_key_is_nowhere(run, rows, tmp_path, caplog):
    caplog.set_level("DEBUG", logger="unifusion")
    replies = {**GOOD, **WRONG, **FAILED}
    with faulty(replies) as (url, asked, bodies):
        path = rows(replies)
        code, out, err = run(*endpoint(url, path, tmp_path / "out"))
        assert code == 0, err
        first = dict(asked)
        told = json.loads((tmp_path / "out" / "results.json").read_text())["parts"]["messages"]["conditions"]["all"]["generation"]
        run(*endpoint(url, path, tmp_path / "out"))
        assert dict(asked) == first, "what was answered, or failed, was asked again unasked"
        run(*endpoint(url, path, tmp_path / "out", "--retry-errors"))
        assert set((asked - Counter(first)).elements()) == set(FAILED)
    assert (told["n"], told["errors"]) == (len(GOOD) + len(WRONG), len(FAILED))
    assert told["value"] == pytest.approx(len(GOOD) / (len(GOOD) + len(WRONG)), abs=1e-5)
    assert {n: c for n, c in first.items() if c > 1} == {"busy": 2, "down": 3, "torn": 2}
    records = {r["row"]: r for r in map(json.loads, (tmp_path / "out" / "predictions.jsonl").read_text().splitlines())}
    assert {n for n, r in records.items() if "error" in r} == set(FAILED)
    assert {records[n]["answer"] for n in GOOD} == {"blue"}
    assert records["refuses"]["answer"] == "I cannot help with that."
    assert "--endpoint-body" in records["only thoughts"]["error"] and "--endpoint-body" in records["cut thought"]["error"]
    assert {key for _, key in bodies} == {f"Bearer {KEY}"}
    assert KEY not in out + err + caplog.text + everything_in(tmp_path)


@pytest.mark.parametrize(("reply", "words"), [((404, {}, {"error": "no such model"}), "404"), ((401, {}, {}), "--endpoint-key-env")])
def test_a_server_that_answers_nobody_ends_the_run(run, rows, tmp_path, reply, words):
    names = [f"q{i}" for i in range(60)]
    replies = {**{n: [chat("blue")] for n in names[:20]}, **{n: [reply] for n in names[20:]}}
    with faulty(replies) as (url, asked, _):
        path = rows(names)
        code, _, err = run(*endpoint(url, path, tmp_path / "out", "--batch-size", "5"))
        assert code == 5 and "10 requests in a row failed" in err and words in err and "--retry-errors" in err
        assert sum(asked.values()) < 45
        replies.update({n: [chat("blue")] for n in names})
        code, _, err = run(*endpoint(url, path, tmp_path / "out", "--retry-errors"))
    told = json.loads((tmp_path / "out" / "results.json").read_text())["parts"]["messages"]["conditions"]["all"]["generation"]
    assert code == 0 and (told["n"], told["errors"], told["value"]) == (60, 0, 1.0)


def test_rows_that_a_server_refuses_one_by_one_do_not_end_it(run, rows, tmp_path):
    names = [f"q{i}" for i in range(15)]
    with faulty({n: [(400, {}, {})] for n in names}) as (url, _, _):
        code, _, _ = run(*endpoint(url, rows(names), tmp_path / "out"))
    told = json.loads((tmp_path / "out" / "results.json").read_text())["parts"]["messages"]["conditions"]["all"]["generation"]
    assert code == 0 and (told["n"], told["errors"], told["value"]) == (0, 15, None)


def test_a_slow_server_is_given_the_time_that_a_person_allows(run, rows, tmp_path):
    with faulty({"slow": [chat("blue")]}, delay_s=0.3) as (url, _, _):
        code, _, err = run(*endpoint(url, rows(["slow"]), tmp_path / "out", "--endpoint-timeout", "0.1"))
    assert code == 0, err
    assert "did not answer within 0.1 s" in everything_in(tmp_path / "out")


def test_fields_of_requests_and_how_clips_are_shown_are_part_of_a_run(run, rows, tmp_path):
    with faulty({"plain": [chat("blue")]}) as (url, _, bodies):
        path = rows(["plain"])
        body = "{seed: 3, max_tokens: null, max_completion_tokens: 9}"
        assert run(*endpoint(url, path, tmp_path / "out", "--endpoint-body", body))[0] == 0
        code, _, err = run(*endpoint(url, path, tmp_path / "out", "--endpoint-style", "frames"))
        assert code == 2 and "another" in err
    sent = bodies[0][0]
    assert (sent["seed"], sent["max_completion_tokens"]) == (3, 9) and "max_tokens" not in sent
    assert json.loads((tmp_path / "out" / "results.json").read_text())["model"]["shown"] == {
        "style": "video_url", "max_seconds": 60.0, "body": {"seed": 3, "max_tokens": None, "max_completion_tokens": 9},
    }  # fmt: skip


@pytest.mark.parametrize("url", ["http://host/v1?api_key=x", "http://me:you@host/v1", "http://host/v1#x"])
def test_an_address_that_could_hold_a_key_is_refused(run, rows, tmp_path, url):
    code, _, err = run(*endpoint(url, rows(["plain"]), tmp_path / "out"))
    assert code == 2 and "the endpoint's address holds" in err


def test_a_judge_meets_the_same_faults(run, rows, tmp_path, caplog):
    caplog.set_level("DEBUG", logger="unifusion")
    good = "{'pred': 'yes', 'score': 5}"
    replies = {name: [chat(good) if r == chat("blue") else r for r in told] for name, told in GOOD.items()}
    replies |= {
        "parts": [chat([{"type": "text", "text": good}])], "think": [chat(f"<think>hm</think>{good}")],
        "reasons": [chat(good, reasoning_content="hm")], **WRONG, **FAILED,
    }  # fmt: skip
    path = tmp_path / "answers.jsonl"
    path.write_text("".join(json.dumps({"id": n, "question": f"{n}?", "answer": "blue", "truth": "blue"}) + "\n" for n in replies))
    given = ("judge", path, "--endpoint-model", "big", "--endpoint-key-env", "THE_KEY", "-o", tmp_path / "judged.jsonl", "--json")
    rows([])
    with faulty(replies) as (url, _, bodies):
        code, out, err = run(*given, "--endpoint", url, "--max-tokens", "900", "--endpoint-body", '{"seed": 1}')
        assert code == 0, err
        assert run(*given, "--endpoint", url, "--endpoint-body", "[1]")[0] == 2
    told = json.loads(out)
    assert (told["all"]["judged"], told["all"]["accuracy"], told["all"]["score"]) == (len(GOOD), 1.0, 5.0)
    assert sum(told["all"]["failed"].values()) == len(WRONG) + len(FAILED)
    assert (told["judge"]["max_tokens"], told["judge"]["seed"], bodies[0][0]["max_tokens"]) == (900, 1, 900)
    assert KEY not in out + err + caplog.text + everything_in(tmp_path)
