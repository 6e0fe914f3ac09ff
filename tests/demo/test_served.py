"""The served page from outside: no other file, no other machine, no script. Over plain HTTP, without a browser."""

import json
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import quote

import pytest

ROOT = Path(__file__).resolve().parents[2]
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000d49444154789c6360000000020001e221bc330000000049454e44ae426082"
)


def get(url, **headers):
    """Status, headers and body, errors included; redirects to other machines would raise."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=20) as reply:
            return reply.status, dict(reply.headers), reply.read()
    except urllib.error.HTTPError as error:
        return error.code, dict(error.headers), error.read()


def upload(url, name, content):
    """Upload a file as the page does; returns its path on the server."""
    border = "xxBORDERxx"
    head = (
        f'--{border}\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\nContent-Type: application/octet-stream\r\n\r\n'
    )
    body = head.encode() + content + f"\r\n--{border}--\r\n".encode()
    request = urllib.request.Request(
        f"{url}/gradio_api/upload", data=body, headers={"Content-Type": f"multipart/form-data; boundary={border}"}
    )
    with urllib.request.urlopen(request, timeout=20) as reply:
        return json.loads(reply.read())[0]


def outside(tmp_path):
    """Files that must not come out, as a visitor might write them."""
    secret = tmp_path / "secret.txt"
    secret.write_text("canary")
    repo = ROOT / "pyproject.toml"
    plain = [secret, repo, Path("/etc/passwd"), ROOT / "demo" / "examples" / "happy-face-angry-voice.mp4", Path.home() / ".bashrc"]
    return [str(p) for p in plain] + [
        "pyproject.toml", "../../../../etc/passwd", "..%2f..%2f..%2fetc/passwd", "/tmp/../etc/passwd", "//etc/passwd", "file:///etc/passwd",
        "/ETC/PASSWD", str(repo).upper(), "/proc/self/environ", "/dev/null/../../etc/passwd", "~/.bashrc", "\\etc\\passwd",
        "/etc/passwd\x00.png",
    ]  # fmt: skip


def test_no_file_from_outside_comes_out(served, tmp_path):
    link = served.folder / "link.txt"
    link.symlink_to("/etc/passwd")
    for path in [*outside(tmp_path), f"{served.folder}/../../../../etc/passwd", str(link), str(served.folder.parent)]:
        for route in ("/gradio_api/file=", "/gradio_api/file/", "/file=", "/gradio_api/static/", "/gradio_api/assets/"):
            status, _, body = get(f"{served.url}{route}{quote(path, safe='/%:')}")
            leaked = status == 200 and (b"root:" in body or b"canary" in body or b"unifusion-x" in body or b"ftyp" in body[:16])
            assert not leaked, (route, path)
    link.unlink()


def test_own_uploads_and_examples_do(served, clip):
    assert get(f"{served.url}/gradio_api/file={upload(served.url, 'a.png', PNG)}")[2] == PNG
    example = served.folder / "examples" / clip.name
    assert get(f"{served.url}/gradio_api/file={example}")[2] == clip.read_bytes()


def test_two_files_of_one_name_stay_two(served):
    first, second = upload(served.url, "same.png", PNG), upload(served.url, "same.png", PNG + b"x")
    assert first != second
    assert get(f"{served.url}/gradio_api/file={second}")[2] == PNG + b"x"


@pytest.mark.parametrize("name", ["../../../evil.txt", "..\\evil.txt", "/etc/evil.txt", "a/../../evil.txt"])
def test_an_upload_lands_in_the_folder_whatever_its_name(served, name):
    path = Path(upload(served.url, name, b"x")).resolve()
    assert path.is_relative_to(served.folder)


def test_an_uploaded_page_is_not_shown_as_one(served):
    path = upload(served.url, "evil.html", b"<script>alert(1)</script>")
    _, headers, _ = get(f"{served.url}/gradio_api/file={path}")
    lower = {k.lower(): v for k, v in headers.items()}
    assert "attachment" in lower.get("content-disposition", "")
    assert lower["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "target", ["http://127.0.0.1:9/x", "https://example.org/", "http:/example.org", "http://169.254.169.254/latest", "http://[::1]/"]
)
def test_it_fetches_nothing_for_anybody(served, target):
    assert get(f"{served.url}/gradio_api/file={target}")[0] == 403
    assert get(f"{served.url}/gradio_api/proxy={target}")[0] == 403


def test_headers_keep_the_browser_here(served):
    _, headers, _ = get(f"{served.url}/")
    policy = next(v for k, v in headers.items() if k.lower() == "content-security-policy")
    assert "default-src 'self'" in policy and "http" not in policy and "object-src 'none'" in policy


def test_another_site_may_not_read_it(served):
    _, headers, _ = get(f"{served.url}/config", Origin="http://evil.example")
    assert "evil.example" not in json.dumps(headers)


def test_too_large_an_upload_is_refused(served, monkeypatch):
    monkeypatch.setattr(served.page, "max_file_size", 1000)
    with pytest.raises(urllib.error.HTTPError) as refused:
        upload(served.url, "big.png", b"x" * 5000)
    assert refused.value.code == 413


def test_the_functions_cannot_be_called_past_the_page(served):
    body = json.dumps({"data": ["video", "/etc/passwd", None, None, "", ""]}).encode()
    for name in ("_ask", "_feel", "_feel_1", "predict"):
        request = urllib.request.Request(f"{served.url}/gradio_api/call/{name}", data=body, headers={"Content-Type": "application/json"})
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(request, timeout=20)
        assert refused.value.code == 403
    assert json.loads(get(f"{served.url}/gradio_api/info")[2])["named_endpoints"] == {}


def test_a_field_takes_uploaded_files_only(served, part):
    """What a browser could send in place of an upload: a path of the server, an address."""
    fields = {c["props"].get("elem_id"): c["id"] for c in served.page.get_config_file()["components"]}
    event = next(i for i, f in served.page.fns.items() if f.name == "_feel")
    assert "clip-video" in fields
    for path in ("/etc/passwd", str(ROOT / "pyproject.toml"), "http://127.0.0.1:9/x.mp4", "concat:/etc/passwd|/etc/hosts"):
        file = {"path": path, "meta": {"_type": "gradio.FileData"}}
        found = join(served.url, event, ["video", file, None, None, "", ""])
        assert found["success"] is False, path
        assert "root:" not in json.dumps(found)


def join(url, event, data):
    """Send an event through the queue as the page does and return its last message."""
    body = json.dumps({"data": data, "fn_index": event, "session_hash": f"s{event}x"}).encode()
    request = urllib.request.Request(f"{url}/gradio_api/queue/join", data=body, headers={"Content-Type": "application/json"})
    try:
        urllib.request.urlopen(request, timeout=20).read()
    except urllib.error.HTTPError as error:
        return {"success": False, "status": error.code}
    with urllib.request.urlopen(f"{url}/gradio_api/queue/data?session_hash=s{event}x", timeout=60) as stream:
        for line in stream:
            message = json.loads(line[5:]) if line.startswith(b"data:") else {}
            if message.get("msg") == "process_completed":
                return message
    return {"success": False}


def test_with_a_login_nothing_is_seen_without_it(app, part, engine, clip):
    settings = part("settings")
    folder = settings.private_folder()
    page = app.build(engine)
    options = settings.launch_options(folder, auth=("anna", "right"))
    _, url, _ = page.launch(server_name="127.0.0.1", server_port=None, prevent_thread_lock=True, **options)
    url = url.rstrip("/")
    try:
        for path in ("/config", "/gradio_api/info", f"/gradio_api/file={folder}/examples/{clip.name}"):
            assert get(f"{url}{path}")[0] == 401, path
        assert b"UniFusion-X" not in get(f"{url}/")[2] or b'components":[]' in get(f"{url}/")[2] or b"auth_required" in get(f"{url}/")[2]
        for password, status in (("wrong", 400), ("right", 200)):
            body = f"username=anna&password={password}".encode()
            request = urllib.request.Request(f"{url}/login", data=body, headers={"Content-Type": "application/x-www-form-urlencoded"})
            try:
                found = urllib.request.urlopen(request, timeout=20).status
            except urllib.error.HTTPError as error:
                found = error.code
            assert found == status
    finally:
        page.close()
