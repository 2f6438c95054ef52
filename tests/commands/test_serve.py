"""Flags of `cpmn-serve`; the server itself is in tests/serving/test_server.py."""

import socket

import pytest

pytest.importorskip("ray", reason="the extra [serving] is not installed")

from cpmn_tf.commands import serve
from cpmn_tf.serving import server


@pytest.fixture(autouse=True)
def installed(monkeypatch):
    """As with the extra."""
    monkeypatch.setattr(serve, "require_serving", lambda: None)


@pytest.fixture
def started(monkeypatch):
    """Settings that the server was started with."""
    found = []
    monkeypatch.setattr(server, "run", lambda settings, ready: found.append(settings))
    return found


def test_flags_become_settings(started, tmp_path):
    (tmp_path / "token").write_text("secret\n")
    flags = ["--model_base_path=export", f"--token_file={tmp_path / 'token'}", "--host=0.0.0.0"]
    flags += ["--model_name=mine", "--max_videos=3", "--in_flight=5", "--weights=rgb=a.h5"]
    assert serve.main(flags) == 0
    (settings,) = started
    assert (settings.token, settings.host, settings.model_name) == ("secret", "0.0.0.0", "mine")
    assert settings.limits.videos == 3 and settings.in_flight == 5
    assert settings.weights == {"rgb": "a.h5"}
    assert settings.limits.video_units == 100_000 and settings.port == 8500


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_this_machine_needs_no_token(started, host):
    assert serve.main(["--model_base_path=export", f"--host={host}"]) == 0
    assert started[0].token == ""


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.0.7", "::", "a.example"])
def test_any_other_address_asks_for_a_token_or_to_waive_it(started, capsys, host):
    assert serve.main(["--model_base_path=export", f"--host={host}"]) == 1
    assert "--token_file, or --without_token" in capsys.readouterr().err
    assert serve.main(["--model_base_path=export", f"--host={host}", "--without_token"]) == 0
    assert [settings.host for settings in started] == [host]


def test_so_does_a_cluster(started, capsys):
    # Ray listens for gRPC on all addresses of all nodes there.
    assert serve.main(["--model_base_path=export", "--address=auto"]) == 1
    assert "--address=auto: others can reach it" in capsys.readouterr().err and not started


@pytest.mark.parametrize(
    ("content", "expected"), [(b"", "no token"), (b"a\nb", "no token"), (b"\xff", "be read")]
)
def test_a_token_is_one_line(started, capsys, tmp_path, content, expected):
    (tmp_path / "token").write_bytes(content)
    flags = ["--model_base_path=export", f"--token_file={tmp_path / 'token'}"]
    assert serve.main(flags) == 1
    error = capsys.readouterr().err
    assert expected in error and str(tmp_path / "token") in error and not started


def test_half_of_tls_is_refused(started, capsys):
    assert serve.main(["--model_base_path=export", "--ssl_certfile=a.pem"]) == 2
    assert "--ssl_keyfile" in capsys.readouterr().err and not started


def test_the_extra_is_named(monkeypatch, capsys):
    monkeypatch.undo()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert serve.main(["--model_base_path=export"]) == 1
    assert "pip install 'cpmn-tf[serving]'" in capsys.readouterr().err


def test_what_keeps_it_from_starting_is_one_line(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(server, "_environment", lambda settings: None)
    assert serve.main([f"--model_base_path={tmp_path / 'none'}"]) == 1
    assert "no such folder" in capsys.readouterr().err
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "saved_model.pb").touch()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert serve.main([f"--model_base_path={tmp_path}", f"--port={port}"]) == 1
    assert f"127.0.0.1:{port}: cannot be listened on" in capsys.readouterr().err
