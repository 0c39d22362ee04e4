"""The client of the hub against a hub on the loopback address: names, files, and every failure."""

from __future__ import annotations

import pytest
from huggingface_hub import constants

from abspos.models import hub
from abspos.models.gaps import Gap

REPO = "org/tiny"
FILES = {"config.json": b"{}", "model.safetensors": bytes(range(256)) * 4000}


@pytest.fixture
def served(loopback, monkeypatch):
    """The loopback hub with one repository; nobody waits before asking again."""
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    loopback.publish(REPO, "main", FILES)
    loopback.requests.clear()
    return loopback


def fetched(served) -> dict[str, bytes]:
    """The files of main as they arrive."""
    found = hub.listing(REPO, "main")
    paths = hub.download(REPO, found.commit, found.files)
    return {name: path.read_bytes() for name, path in paths.items()}


def test_a_name_stands_for_a_commit_with_digests(served) -> None:
    found = hub.listing(REPO, "main")
    assert found.commit == served.refs[REPO]["main"]
    assert set(found.files) == set(FILES)
    assert found.files["config.json"]["bytes"] == 2
    assert len(found.files["config.json"]["sha1"]) == 40
    assert len(found.files["model.safetensors"]["sha256"]) == 64
    assert hub.listing(REPO, found.commit) == found, "a commit stands for itself"


def test_small_files_tell_what_plans_need(served) -> None:
    files = {
        "config.json": b'{"model_type": "llama", "vocab_size": 9}',
        "tokenizer_config.json": b'{"bos_token": null}',
    }
    served.publish(REPO, "main", {**FILES, **files})
    found = hub.read_too(REPO, hub.listing(REPO, "main"))
    assert found.says == {
        "config": {"model_type": "llama"},
        "tokenizer_config": {"bos_token": None},
    }
    assert not any(name == "model.safetensors" for _, name, _ in served.requests)
    served.publish(REPO, "main", {"model.safetensors": b""})
    assert hub.read_too(REPO, hub.listing(REPO, "main")).says == {}


@pytest.mark.parametrize(
    "answer",
    [
        "<html>sign in</html>",
        "",
        "null",
        "[]",
        "[1, 2]",
        '"text"',
        "{}",
        '{"id": "org/tiny", "sha": null, "siblings": []}',
        '{"id": "org/tiny", "sha": ["a"], "siblings": null}',
        '{"id": "org/tiny", "sha": "%s", "siblings": [1]}' % ("a" * 40),
        '{"id": "org/tiny", "sha": "%s", "siblings": {"a": 1}}' % ("a" * 40),
        '{"id": "org/tiny", "sha": "%s", "siblings": [{"rfilename": "config.json"}]}' % ("a" * 40),
        '{"id": "org/tiny", "sha": "%s", "siblings": [{"rfilename": null}]}' % ("a" * 40),
        *(
            f'{{"id": "org/tiny", "sha": "{"a" * 40}", "siblings": [{one}]}}'
            for one in (
                '{"rfilename": "config.json", "size": -1, "blobId": "%s"}' % ("b" * 40),
                '{"rfilename": "config.json", "size": true, "blobId": "%s"}' % ("b" * 40),
                '{"rfilename": "config.json", "size": 1e40, "blobId": "%s"}' % ("b" * 40),
                '{"rfilename": "config.json", "size": 2, "blobId": "b"}',
                '{"rfilename": "config.json", "size": 2, "blobId": "%s"}' % ("z" * 40),
                '{"rfilename": "../config.json", "size": 2, "blobId": "%s"}' % ("b" * 40),
                '{"rfilename": "/config.json", "size": 2, "blobId": "%s"}' % ("b" * 40),
                '{"rfilename": "a/../../b.py", "size": 2, "blobId": "%s"}' % ("b" * 40),
                '{"rfilename": "a\\nb.py", "size": 2, "blobId": "%s"}' % ("b" * 40),
                '{"rfilename": "", "size": 2, "blobId": "%s"}' % ("b" * 40),
                '{"rfilename": "a", "size": 2, "blobId": "b", "lfs": {"size": 2, "sha256": "c", '
                '"pointerSize": 1}}',
            )
        ),
    ],
)
def test_an_answer_that_is_none_is_told_in_a_line(served, answer) -> None:
    served.faults["api"] = [f"says {answer}"]
    with pytest.raises(hub.HubError, match=r"org/tiny at main: .*check HF_ENDPOINT") as error:
        hub.listing(REPO, "main")
    assert "\n" not in str(error.value)


def test_files_arrive_whole_and_once(served) -> None:
    assert fetched(served) == FILES
    before = len(served.requests)
    assert fetched(served) == FILES
    asked = served.requests[before:]
    assert not [request for request in asked if request[0] == "GET" and request[1] != "api"]


def test_a_connection_that_is_cut_goes_on_where_it_stopped(served, monkeypatch) -> None:
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 100_000)
    served.faults["model.safetensors"] = ["cut"]
    assert fetched(served) == FILES
    starts = [
        first
        for method, name, first in served.requests
        if (method, name) == ("GET", "model.safetensors")
    ]
    assert starts[0] == 0
    assert 0 < starts[1] <= len(FILES["model.safetensors"]) // 2


@pytest.mark.parametrize("name", ["api", "model.safetensors"])
def test_a_busy_hub_is_asked_again(served, name) -> None:
    served.faults[name] = ["busy", "busy"]
    assert fetched(served) == FILES


def test_a_hub_that_stays_busy_is_given_up(served) -> None:
    served.faults["api"] = ["busy"] * hub.ATTEMPTS
    with pytest.raises(hub.HubError, match=r"503.*check the network"):
        fetched(served)
    assert len(served.requests) == hub.ATTEMPTS


def test_a_slow_answer_is_asked_for_again(served, monkeypatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.2)
    served.waits.clear()
    served.faults["model.safetensors"] = ["slow"]
    assert fetched(served) == FILES
    served.waits.set()


def test_an_altered_file_is_fetched_anew_once(served, lines) -> None:
    served.faults["model.safetensors"] = ["altered"]
    assert fetched(served) == FILES
    assert any("not the listed file" in line for line in lines())


def test_a_file_that_stays_altered_is_a_gap(served) -> None:
    served.faults["model.safetensors"] = ["altered", "altered"]
    with pytest.raises(Gap, match=r"model.safetensors: its sha256 is .*, the lock states"):
        fetched(served)


def test_a_small_file_that_stays_altered_is_a_gap(served) -> None:
    served.faults["config.json"] = ["altered", "altered"]
    with pytest.raises(Gap, match=r"config.json: its sha1 is .*, the lock states"):
        fetched(served)


def test_a_truncated_file_is_never_taken_for_whole(served) -> None:
    served.faults["model.safetensors"] = ["truncated"]
    assert fetched(served) == FILES
    served.faults["model.safetensors"] = ["truncated"] * 100
    with pytest.raises(Gap, match=r"fewer bytes than it lists"):
        hub.download(REPO, **anew(served))


def anew(served) -> dict:
    """Another commit with another weights file, as arguments of download."""
    served.publish(REPO, "main", {**FILES, "model.safetensors": b"other" * 4000})
    found = hub.listing(REPO, "main")
    return {"commit": found.commit, "files": found.files}


def test_a_missing_revision_and_a_missing_file_are_gaps(served) -> None:
    with pytest.raises(Gap, match=r"org/tiny at step7: no such revision"):
        hub.listing(REPO, "step7")
    served.faults["model.safetensors"] = ["missing"]
    with pytest.raises(Gap, match=r"no such file"):
        fetched(served)


def test_a_missing_repository_is_no_gap(served) -> None:
    with pytest.raises(hub.HubError, match=r"org/typo at main: no such repository.*HF_TOKEN"):
        hub.listing("org/typo", "main")


def test_a_gated_repository_needs_a_token(served, monkeypatch) -> None:
    served.gated[REPO] = "right"
    with pytest.raises(hub.HubError, match=r"gated; accept its terms.*HF_TOKEN"):
        fetched(served)
    monkeypatch.setenv("HF_TOKEN", "wrong")
    with pytest.raises(hub.HubError, match=r"gated; accept its terms.*HF_TOKEN"):
        fetched(served)
    monkeypatch.setenv("HF_TOKEN", "right")
    assert fetched(served) == FILES


def test_offline_the_cache_serves_and_nothing_else(served, monkeypatch) -> None:
    found = hub.listing(REPO, "main")
    hub.download(REPO, found.commit, found.files)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert set(hub.download(REPO, found.commit, found.files)) == set(FILES)
    with pytest.raises(hub.HubError, match=r"not in the cache.*HF_HUB_OFFLINE"):
        hub.download(REPO, "0" * 40, found.files)


def test_no_server_at_all(served, monkeypatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:1")
    with pytest.raises(hub.HubError, match=r"http://127.0.0.1:1 does not serve it"):
        hub.listing(REPO, "main")


def test_no_room(served, monkeypatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 10**5}))
    with pytest.raises(hub.HubError, match=r"0.0 GB to fetch|GB free in .*make room"):
        fetched(served)
    assert not any(name == "model.safetensors" for _, name, _ in served.requests)


def test_what_the_cache_holds_needs_no_room(served, monkeypatch) -> None:
    assert fetched(served) == FILES
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 0}))
    assert fetched(served) == FILES
