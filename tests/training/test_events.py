"""Event files: what is written, and what is dropped when training goes back to a checkpoint."""

import pytest
import tensorflow as tf

from cpmn_tf.training.events import EventWriter, purge_events


def values(folder) -> list[tuple[int, str, float]]:
    found = []
    for path in sorted(folder.glob("events.out.tfevents.*")):
        for event in tf.compat.v1.train.summary_iterator(str(path)):
            for value in event.summary.value:
                if value.tag.startswith("loss"):
                    found.append((event.step, value.tag, float(tf.make_ndarray(value.tensor))))
    return found


@pytest.fixture
def written(tmp_path):
    writer = EventWriter(tmp_path)
    for step in (1, 2, 3):
        writer.scalars(step, {"loss/a": step / 2})
    writer.close()
    return tmp_path


def test_what_lies_beyond_the_step_is_dropped(written):
    purge_events(written, 2)
    assert values(written) == [(1, "loss/a", 0.5), (2, "loss/a", 1.0)]


def test_step_0_begins_anew(written):
    purge_events(written, 0)
    assert not list(written.iterdir())


def test_a_file_without_later_events_is_not_rewritten(written):
    (path,) = written.iterdir()
    before = path.stat().st_mtime_ns, path.read_bytes()
    purge_events(written, 3)
    assert (path.stat().st_mtime_ns, path.read_bytes()) == before


def test_an_event_that_a_crash_cut_off_is_dropped(written):
    (path,) = written.iterdir()
    path.write_bytes(path.read_bytes()[:-3])
    purge_events(written, 3)
    assert values(written) == [(1, "loss/a", 0.5), (2, "loss/a", 1.0)]


def test_a_resumed_writer_adds_to_what_was_kept(written):
    writer = EventWriter(written, resume_step=2)
    writer.scalars(3, {"loss/a": 7.0})
    writer.close()
    assert sorted(values(written)) == [(1, "loss/a", 0.5), (2, "loss/a", 1.0), (3, "loss/a", 7.0)]


def test_the_rate_is_of_the_steps_since_the_last_call(tmp_path, monkeypatch):
    clock = iter([10.0, 14.0, 15.0])
    monkeypatch.setattr("cpmn_tf.training.events.time.monotonic", lambda: next(clock))
    writer = EventWriter(tmp_path, resume_step=6)
    assert writer.steps_per_second(8) == 0.5  # 2 steps in 4 seconds
    assert writer.steps_per_second(11) == 3.0


def test_settings_are_listed_for_the_hparams_page(tmp_path):
    writer = EventWriter(tmp_path)
    writer.hyperparameters({"stream": "rgb", "cascade.units": 7, "thresholds": [0.1, 0.2]})
    writer.close()
    (path,) = tmp_path.iterdir()
    written = path.read_bytes()
    assert b"cascade.units" in written and b"thresholds" not in written
