"""A small source in folders, to be built and broken."""

import json

import numpy as np
import pytest

from cpmn_tf.errors import UserError
from tfrecords_tools import building, validation
from tfrecords_tools.findings import raise_errors
from tfrecords_tools.sources import SourceSettings
from tfrecords_tools.sources.folders import FoldersSource

# What a build can be refused for beside its data.
BUILDING = ("output_dir", "dtype", "shards", "join", "overwrite")
BUILDING += ("holdout", "holdout_from", "holdout_to")
IDS = ("-first", "sec ond", "thi'r\"d", "vierte Ü動画")


@pytest.fixture(autouse=True)
def what_is_refused_is_found(monkeypatch):
    """Runs every refusal of building, in any test, through validation, which must find an error."""

    def build(*, building_records=building.build_records, **options):
        try:
            return building_records(**options)
        except UserError as error:
            of_build = {name: options.pop(name, None) for name in BUILDING}
            text, output = str(error), str(of_build["output_dir"])
            if not any(f"`{name}" in text for name in BUILDING) and not text.startswith(output):
                found = validation.validate_records(**options)
                assert found.errors, f"validation passes what building refuses: {text}"
                assert text in [text for all_ in found.findings.found.values() for _, text in all_]
            raise

    monkeypatch.setattr(building, "build_records", build)


@pytest.fixture
def folders(tmp_path):
    """Writes features/STREAM/ID.npy and annotations.json of four oddly named videos."""

    class Folders:
        features = tmp_path / "features"
        annotations = tmp_path / "annotations.json"
        output = tmp_path / "records"
        ids = IDS

        def __init__(self):
            rng = np.random.default_rng(0)
            self.database = {
                name: {
                    "subset": "training" if place < 3 else "test",
                    "duration": "3.5",  # numbers may be strings
                    "fps": 10,
                    "annotations": [
                        {"label": "run", "segment": [0.5, 1.0]},
                        {"label": ("jump", "run")[place % 2]},
                    ],
                }
                for place, name in enumerate(IDS)
            }
            self.save()
            for stream, width in (("rgb", 4), ("flow", 2)):
                for place, name in enumerate(IDS):
                    self.put(stream, name, rng.normal(size=(6 + place, width)))

        def save(self, **top):
            content = {"database": self.database, **top}
            self.annotations.write_text(json.dumps(content, ensure_ascii=False))

        def path(self, stream, name):
            return self.features / stream / f"{name}.npy"

        def put(self, stream, name, values, **options):
            self.path(stream, name).parent.mkdir(parents=True, exist_ok=True)
            np.save(self.path(stream, name), values, **options)

        def options(self):
            return {
                "features_dir": self.features,
                "annotations": self.annotations,
                "unit_frames": 5,
                "output_dir": self.output,
            }

        def flags(self, *more):
            return [
                f"--features_dir={self.features}",
                f"--annotations={self.annotations}",
                "--unit_frames=5",
                f"--output_dir={self.output}",
                *more,
            ]

        def opened(self, problem=raise_errors, **options) -> FoldersSource:
            options = {"unit_frames": 5, "annotations": self.annotations, **options}
            settings = SourceSettings(features_dir=self.features, **options)
            return FoldersSource(settings, problem)

        def read(self, source: FoldersSource) -> dict:
            splits = {video.id: video.subset for video in source.annotations.videos.values()}
            return {video.id: video for video in source.videos(splits)}

        def clear(self):
            for stream in ("rgb", "flow"):
                for name in self.ids:
                    self.path(stream, name).unlink()
                (self.features / stream).rmdir()

    return Folders()
