"""From videos to features: the paper's Section 3.2.

``decoding`` draws a video's frames at a constant rate, ``flow`` computes optical flow, ``units``
makes of both what the networks see of each unit, and ``encode`` runs it all over many videos and
writes the features. PyAV and OpenCV, the extra ``[video]``, are imported by these modules only.
"""

import importlib.util

from cpmn_tf.errors import UserError


def require_video() -> None:
    """Checks that PyAV and OpenCV are installed, before a module that imports them is imported.

    Raises:
      UserError: naming the one that is not.
    """
    for package, module in (("PyAV", "av"), ("OpenCV", "cv2")):
        if importlib.util.find_spec(module) is None:
            raise UserError(f"{package} is not installed; run: pip install 'cpmn-tf[video]'")
