"""Store URLs: what is read from them, what is refused, and that no password is shown."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest

from vertebra import open_checkpointer
from vertebra.databases.url import StoreUrl, redacted
from vertebra.errors import StoreUrlInvalid


@pytest.mark.parametrize(
    ("url", "backend", "path", "dsn", "durability"),
    [
        ("memory://", "memory", "", "", "power"),
        ("memory:///?durability=process", "memory", "", "", "power"),
        ("sqlite:///visits.db", "sqlite", "visits.db", "", "power"),
        ("sqlite:///a/b.db?durability=process", "sqlite", "a/b.db", "", "process"),
        ("sqlite:////var/lib/visits.db?durability=power", "sqlite", "/var/lib/visits.db", "", "power"),
        ("sqlite:///my visits.db", "sqlite", "my visits.db", "", "power"),
        ("sqlite:///my%20visits%3F100%25.db", "sqlite", "my visits?100%.db", "", "power"),
        ("sqlite:///a#b.db?durability=process", "sqlite", "a#b.db", "", "process"),
        ("sqlite:///a+b.db", "sqlite", "a+b.db", "", "power"),
        ("sqlite:///Größe.db", "sqlite", "Größe.db", "", "power"),
        ("postgres://u@h/d", "postgresql", "", "postgresql://u@h/d", "power"),
        ("postgresql:///d", "postgresql", "", "postgresql:///d", "power"),
        ("postgresql://u:p@h/d?durability=process", "postgresql", "", "postgresql://u:p@h/d", "process"),
        ("postgresql://u:p%2F@h:1/d?sslmode=require&durability=process&password=a+b", "postgresql", "",
         "postgresql://u:p%2F@h:1/d?sslmode=require&password=a+b", "process"),
        ("postgresql://[::1]:5432/d?options=-c%20work_mem%3D1MB", "postgresql", "",
         "postgresql://[::1]:5432/d?options=-c%20work_mem%3D1MB", "power"),
        ("postgresql://a,b:5433/d?target_session_attrs=any", "postgresql", "",
         "postgresql://a,b:5433/d?target_session_attrs=any", "power"),
    ],
)  # fmt: skip
def test_what_is_read(url: str, backend: str, path: str, dsn: str, durability: str) -> None:
    parsed = StoreUrl.parse(url)
    assert (parsed.backend, parsed.path, parsed.dsn, parsed.durability) == (backend, path, dsn, durability)


@pytest.mark.parametrize(
    ("url", "message", "remedy"),
    [
        ("", "not a store URL", "use memory://"),
        ("visits.db", "not a store URL", "use memory://"),
        ("mysql://u:secret@h/d", "'mysql' is not a kind of store", "use memory://"),
        ("postgresql+psycopg://u:secret@h/d", "'postgresql+psycopg'", "postgresql://user@host/database"),
        ("sqlite://visits.db", "names no file", "sqlite:///relative.db"),
        ("sqlite://u:secret@h/visits.db", "names no file", "sqlite:////absolute/path.db"),
        ("sqlite:///", "names no file", "sqlite:///relative.db"),
        ("sqlite:///a%00b", "names no file", "sqlite:///relative.db"),
        ("sqlite:///:memory:", "two databases", "use memory://"),
        ("memory://shared", "'shared'", "use memory:// alone"),
        ("sqlite:///a.db?mode=ro", "Unknown option 'mode'", "known: durability"),
        ("memory://?secret=1", "Unknown option 'secret'", "known: durability"),
        ("sqlite:///a.db?durability=", "durability='' is unknown", "durability=process"),
        ("postgresql://u:secret@h/d?durability=max", "durability='max' is unknown", "durability=power"),
    ],
)  # fmt: skip
def test_what_is_refused_says_why_and_what_to_do(url: str, message: str, remedy: str) -> None:
    with pytest.raises(StoreUrlInvalid) as caught:
        StoreUrl.parse(url)
    assert message in caught.value.message
    assert remedy in caught.value.remedy
    assert "u:secret" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:s3cret@h/d",
        "postgresql://u:s3cret@h/d?durability=process",
        "postgresql://u:x/s3cret@h/d",
        "postgresql://u:x@s3cret@h/d",
        "postgresql://u:x?s3cret@h/d",
        "postgresql://u:a:s3cret@h/d",
        "postgresql://u@h/d?password=s3cret&sslmode=require",
        "postgresql://u@h/d?sslmode=require&sslpassword=s3cret",
        "postgresql://:s3cret@h/d",
    ],
)
def test_a_password_is_never_shown(url: str) -> None:
    parsed = StoreUrl.parse(url)
    assert "s3cret" in parsed.dsn
    for text in (str(parsed), repr(parsed), f"{[parsed]}", redacted(f"in a sentence {url} of a driver")):
        assert "s3cret" not in text
        assert "***" in text
    assert pickle.loads(pickle.dumps(parsed)) == parsed


def test_a_plain_url_is_shown_whole() -> None:
    url = "postgresql://u@h:5432/d?application_name=vertebra"
    assert str(StoreUrl.parse(url)) == url
    assert redacted("dbname=d password='s3cret and more' user=u") == "dbname=d password=*** user=u"


@pytest.mark.parametrize("name", ["a b.db", "100%.db", "what?.db", "a#b.db", "Größe 🙂.db"])
@pytest.mark.parametrize("options", ["", "?durability=process"])
def test_its_text_opens_the_same_store(tmp_path: Path, name: str, options: str) -> None:
    parsed = StoreUrl("sqlite", path=str(tmp_path / name), durability="process" if options else "power")
    assert StoreUrl.parse(str(parsed)) == parsed
    with open_checkpointer(str(parsed)) as store:
        assert store.url == parsed
        _ = store.saver
    assert {path.name for path in tmp_path.iterdir()} == {name}


def test_a_relative_path_holds_when_the_process_changes_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    with open_checkpointer("sqlite:///visits.db") as store:
        os.chdir(tmp_path / "elsewhere")
        _ = store.saver
    assert not list((tmp_path / "elsewhere").iterdir())
    assert (tmp_path / "visits.db").exists()
