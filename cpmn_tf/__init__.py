"""Weakly supervised temporal action localization with the Cascaded Pyramid Mining Network.

The package's parts are imported by name, for example ``from cpmn_tf.models import CPMN``; nothing
is imported here, so that evaluation works without loading TensorFlow.
"""

__version__ = "0.1.0"
