"""The parts of `plus`: each row changes something that takes effect, and no two are the same."""

from cpmn_tf.config import parse_settings, preset, with_overrides
from cpmn_tf.training.model_folder import flatten
from experiments.ours import one_out, rivals


def test_each_part_is_another_model_than_plus_and_than_each_other():
    plus = preset("plus")
    changed = [with_overrides(plus, list(parts)) for parts in one_out.PARTS.values()]
    assert plus not in changed and len(set(changed)) == len(changed)
    own = flatten(plus.to_dict())
    for parts in one_out.PARTS.values():
        for name, value in parse_settings(parts).items():  # none names the value that plus has
            assert own[name] != (list(value) if isinstance(value, tuple) else value)


def test_plus_has_as_many_others_as_each_rival():
    assert len(rivals.PLUS_OTHERS) == 4 and set(rivals.PLUS_OTHERS) <= set(one_out.PARTS)
