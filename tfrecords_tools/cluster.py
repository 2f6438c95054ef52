"""Parts of a data set as Ray tasks, in processes of this machine or of a cluster."""

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from cpmn_tf.cluster import start
from cpmn_tf.errors import UserError
from cpmn_tf.notices import load_tensorflow
from cpmn_tf.shards import parse_shard

if TYPE_CHECKING:
    from tfrecords_tools.building import BuiltPart, BuiltRecords

RETRIES = 3  # of a part whose worker died


def build_on_cluster(
    *,
    output_dir: str | os.PathLike,
    parts: int,
    address: str = "",
    workers: int | None = None,
    shards: int | None = None,
    report: Callable[[str], None] = lambda line: None,
    **options: Any,
) -> "BuiltRecords":
    """Builds a data set in parts, a Ray task for each, and joins them; the same bytes.

    A part whose worker dies is built again. Parts that are there, of an earlier call that was
    ended, are kept.

    Args:
      output_dir: the data set's folder; the cluster's machines have it, and all that is read, by
        the same absolute paths.
      parts: their number.
      address: of a Ray cluster; a Ray of its own, on this machine, if empty.
      workers: processes of a Ray of its own; as many as cores by default.
      shards: as of :func:`~tfrecords_tools.build_records`.
      report: takes a line for each part that is there.
      **options: as :func:`~tfrecords_tools.build_part` takes them.

    Raises:
      UserError: naming the file, the video and the fix; if Ray does not start; or if a part's
        worker dies again and again.
    """
    parse_shard(f"1/{parts}")
    start(address, num_cpus=workers)
    import ray
    from ray.exceptions import NodeDiedError, OutOfMemoryError, WorkerCrashedError

    from tfrecords_tools.building import build_records

    options["output_dir"] = output_dir
    task = ray.remote(num_cpus=1, max_retries=RETRIES)(_part)
    died = (WorkerCrashedError, NodeDiedError, OutOfMemoryError)
    try:
        shards_of = {
            task.options(name=f"part {shard}").remote(shard, options): shard
            for shard in (f"{number}/{parts}" for number in range(1, parts + 1))
        }
        while shards_of:
            (done,), _ = ray.wait(list(shards_of))
            shard = shards_of.pop(done)
            try:
                built = ray.get(done)
            except died as error:
                line = str(error).strip().splitlines()[0]
                raise UserError(
                    f"part {shard}: {RETRIES + 1} workers died over it ({line}); give them more "
                    "memory, or make more parts"
                ) from None
            if isinstance(built, str):
                raise UserError(built)
            report(str(built))
    finally:
        ray.shutdown()
    return build_records(join=True, shards=shards, **options)


def _part(shard: str, options: dict[str, Any]) -> "BuiltPart | str":
    """Runs in a worker; the text of an error that a user can fix."""
    load_tensorflow()
    from tfrecords_tools.building import build_part

    try:
        return build_part(shard=shard, **options)
    except UserError as error:
        return str(error)
