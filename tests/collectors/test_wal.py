"""The write-ahead log on real files."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from collectors.wal import Budget, LogFull, Segment, WriteAheadLog, encode_record, read_records, record_body
from monitor.errors import StoreError
from tests.tools.service import ROOT


def open_log(folder: Path, **limits: Any) -> tuple[WriteAheadLog, list[Segment]]:
    given: dict[str, Any] = {
        "segment_items": 1000,
        "segment_bytes": 10**6,
        "segment_age_s": 60.0,
        **limits,
    }
    budget = Budget(given.pop("max_bytes", 10**6))
    segments: list[Segment] = []
    return WriteAheadLog(folder, on_segment=segments.append, budget=budget, **given), segments


def bodies(path: Path) -> list[bytes]:
    data = path.read_bytes()
    return [record_body(data, begin, end) for begin, end, _ in read_records(data)]


def test_what_is_acknowledged_is_on_disk(tmp_path: Path) -> None:
    log, segments = open_log(tmp_path / "wal")
    log.start()
    for number in range(20):
        log.append(b"body %d" % number, 1).result(10)
        (file,) = (tmp_path / "wal").glob("*.segment")
        assert bodies(file)[-1] == b"body %d" % number
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700
    log.close()
    assert [segment.items for segment in segments] == [20]
    with pytest.raises(LogFull, match="stopping"):
        log.append(b"late", 1)


def test_many_threads_share_syncs_and_lose_nothing(tmp_path: Path) -> None:
    log, segments = open_log(tmp_path / "wal", segment_items=70)
    log.start()

    def send(thread: int) -> None:
        for number in range(100):
            log.append(b"%d/%d" % (thread, number), 1).result(10)

    threads = [threading.Thread(target=send, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    log.close()
    found = [body for segment in segments for body in bodies(segment.path)]
    assert sorted(found) == sorted(b"%d/%d" % (t, n) for t in range(8) for n in range(100))
    assert all(segment.items <= 70 for segment in segments)
    assert len({segment.token for segment in segments}) == len(segments)
    for segment in segments:
        log.forget(segment)
    assert log.budget.taken == 0
    assert not list((tmp_path / "wal").iterdir())


@pytest.mark.parametrize(
    "limit", [{"segment_items": 10}, {"segment_bytes": 2000}, {"segment_age_s": 0.01}], ids=["spans", "bytes", "age"]
)
def test_segments_are_closed(tmp_path: Path, limit: dict[str, Any]) -> None:
    log, segments = open_log(tmp_path / "wal", **limit)
    log.start()
    for _ in range(4):
        log.append(b"x" * 1000, 5).result(10)
        threading.Event().wait(0.03 if "segment_age_s" in limit else 0)
    log.close()
    assert len(segments) >= 2
    assert sum(segment.items for segment in segments) == 20


def test_slow_inserts_make_small_segments_older(tmp_path: Path) -> None:
    log, segments = open_log(tmp_path / "wal", segment_age_s=0.05)
    log.start()
    log.pace(0.02, 1)  # an eighth of the time: every 0.16 s
    log.append(b"x", 1).result(10)
    threading.Event().wait(0.1)
    assert not segments
    log.append(b"x", 1).result(10)
    threading.Event().wait(0.15)
    assert [segment.items for segment in segments] == [2]
    log.pace(100, 1)  # but never more than four times its age
    log.append(b"x", 1).result(10)
    threading.Event().wait(0.4)
    assert len(segments) == 2
    log.pace(0.001, 1)
    log.append(b"x", 1).result(10)
    threading.Event().wait(0.15)
    assert len(segments) == 3
    log.pace(100, 1_000_000)  # many items: the time was for them
    log.append(b"x", 1).result(10)
    threading.Event().wait(0.15)
    assert len(segments) == 4
    log.close()


def test_a_full_log_refuses_and_takes_again(tmp_path: Path) -> None:
    log, segments = open_log(tmp_path / "wal", segment_items=1, max_bytes=250)
    log.start()
    log.append(b"x" * 100, 1).result(10)
    log.append(b"x" * 100, 1).result(10)
    with pytest.raises(LogFull, match="250 bytes"):
        log.append(b"x" * 100, 1)
    log.forget(segments[0])
    log.append(b"x" * 100, 1).result(10)
    log.close()
    assert len(segments) == 3


RECORDS = [encode_record(b"first body", 2), encode_record(b"", 0), encode_record(b"third" * 50, 7)]
WHOLE = b"".join(RECORDS)
ENDS = [len(RECORDS[0]), len(RECORDS[0] + RECORDS[1]), len(WHOLE)]


@pytest.mark.parametrize("cut", range(len(WHOLE) + 1))
def test_a_torn_tail_is_cut_at_the_last_whole_request(tmp_path: Path, cut: int) -> None:
    _recovers(tmp_path, WHOLE[:cut], sum(end <= cut for end in ENDS))


@pytest.mark.parametrize("at", range(ENDS[1], len(WHOLE), 7))
def test_damage_drops_what_it_hit(tmp_path: Path, at: int) -> None:
    damaged = bytearray(WHOLE)
    damaged[at] ^= 0x55
    _recovers(tmp_path, bytes(damaged), 2)


def test_zeros_behind_the_end_are_cut(tmp_path: Path) -> None:
    _recovers(tmp_path, WHOLE + bytes(4096), 3)


def _recovers(tmp_path: Path, content: bytes, records: int) -> None:
    folder = tmp_path / "wal"
    folder.mkdir()
    path = folder / "00000000000000000001-aaaa-00000001.segment"
    path.write_bytes(content)
    log, segments = open_log(folder)
    recovered = log.start()
    log.close()
    assert recovered == segments
    if records:
        assert path.read_bytes() == b"".join(RECORDS[:records])
        assert [(segment.token, segment.items) for segment in segments] == [(path.stem, sum([2, 0, 7][:records]))]
    else:
        assert not segments
        assert not path.exists()


def test_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "wal").write_text("x")
    with pytest.raises(StoreError, match=r"wal cannot be written"):
        open_log(tmp_path / "wal")


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from collectors.wal import LogBroken
from tests.collectors.test_wal import bodies, open_log
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
log, segments = open_log(Path(sys.argv[1]))
log.start()
log.append(b"kept", 1).result(10)
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, resource.RLIM_INFINITY))
try:
    log.append(b"x" * 5000, 1).result(10)
    raise SystemExit("the disk was not full")
except LogBroken as error:
    print(error)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
log.append(b"after", 1).result(10)
log.close()
assert [body for segment in segments for body in bodies(segment.path)] == [b"kept", b"after"], segments
assert log.budget.taken == sum(segment.bytes for segment in segments)
"""


def test_a_full_disk_refuses_keeps_what_was_taken_and_goes_on(tmp_path: Path) -> None:
    """The limit on a file's size ends a write as a full disk does: a part is written, then an error."""
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path / "wal")], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "cannot be written" in done.stdout


def test_notes_are_kept_for_the_next_run(tmp_path: Path) -> None:
    """Behind each request, in what the next run recovers; a request that was cut off has none."""
    log, _ = open_log(tmp_path / "wal")
    log.start()
    for number in range(3):
        log.append(b"body %d" % number, 1, b"note %d" % number).result(10)
    log.append(b"without", 1).result(10)
    log.close()
    (file,) = (tmp_path / "wal").glob("*.segment")
    whole = [b"body 0note 0", b"body 1note 1", b"body 2note 2", b"without"]
    assert bodies(file) == whole
    file.write_bytes(file.read_bytes()[:-1])
    found: list[bytes] = []
    again, segments = open_log(tmp_path / "wal", on_recovered=lambda logged: found.append(bytes(logged)))
    assert [segment.items for segment in again.start()] == [3]
    again.close()
    assert [logged[1:] for logged in found] == whole[:3], "with the length before it"
    assert [segment.items for segment in segments] == [3]
