"""Figures 4 and 6: what the T-CASs, the attention map and the detections of a video look like.

Figure 4 compares truth, original and mining T-CAS, their maximum and the attention map of one
class; Figure 6 shows (a) a video of two classes, (b) one of many instances, (c) one of short ones.
Here each is one picture with all of that. Videos are chosen from the annotations, not by how they
come out. 4: the single-class video of median number of instances; 6a: the video of most classes;
6b: the most instances per second; 6c: the shortest median instance, of videos with at least 3.

    python -m experiments.run fig4_fig6 --preset=watch --data_dir=runs/watch \\
        --output_dir=runs/results

Uses the model of Table 3, seed 0, and trains it if need be. Writes fig4.png, fig6a.png, fig6b.png
and fig6c.png.
"""

import pathlib
import statistics

from cpmn_tf import inference, plotting
from cpmn_tf.errors import UserError
from cpmn_tf.files import replaced
from cpmn_tf.formats.annotations import Annotations, Video
from cpmn_tf.models import CPMN
from cpmn_tf.training import load_model
from experiments.harness.lab import Lab
from experiments.harness.study import Variant


def chosen(truth: Annotations) -> dict[str, str]:
    """The video of each picture, ties going to the first id.

    Raises:
      UserError: if no video has an instance.
    """
    videos = sorted((v for v in truth.videos.values() if v.instances), key=lambda v: v.id)
    if not videos:
        raise UserError("no video of the split has an instance; choose another --split")
    single = [v for v in videos if len(v.labels) == 1] or videos
    several = [v for v in videos if len(v.instances) >= 3] or videos
    by_count = sorted(single, key=lambda v: len(v.instances))

    def density(video: Video) -> float:
        return len(video.instances) / (video.duration or max(i.end for i in video.instances))

    def typical(video: Video) -> float:
        return statistics.median(item.end - item.start for item in video.instances)

    return {
        "fig4": by_count[len(by_count) // 2].id,
        "fig6a": max(videos, key=lambda v: len(v.labels)).id,
        "fig6b": max(videos, key=density).id,
        "fig6c": min(several, key=typical).id,
    }


def curves_of(lab: Lab, model: CPMN, video_id: str) -> plotting.RecordingCurves:
    """What a picture shows of a video of the split."""
    batch = next(inference.batches(lab.split.only([video_id]), segments=True))
    simulated = lab.split.manifest.simulated
    return plotting.collect_curves(model, batch, model.manifest.classes, simulated=simulated)


def save(path: pathlib.Path, curves: plotting.RecordingCurves) -> None:
    """Writes the picture."""
    with replaced(path) as temporary:
        temporary.write_bytes(plotting.render(plotting.figure(curves)))


def run(lab: Lab) -> None:
    """Draws the four pictures."""
    folder, _ = lab.trained(Variant("CPMN"), 0)
    model = load_model(folder)
    for name, video_id in chosen(lab.truth).items():
        path = lab.output / f"{name}.png"
        save(path, curves_of(lab, model, video_id))
        print(f"{path}: {video_id}", flush=True)
