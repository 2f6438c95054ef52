"""Table 1: mAP on THUMOS14 by both protocols, beside the rows the paper published.

    python -m experiments.run table1 --data_dir=thumos14_records --output_dir=runs/thumos14

The data are to be UntrimmedNet's fc-action scores of THUMOS14 (see the README); on any other data
set our rows are named as what they are, and the paper's are no comparison. Its figures are of one
training and an evaluator that it does not name. Full training takes about an hour a seed and stream
on 2 cores. Writes table1.json, .md and .png.
"""

from experiments.harness.study import Published, Study, Variant

STUDY = Study(
    title="Table 1: mAP beside the published rows",
    paper="CPMN 47.1, 41.6, 32.8, 24.7, 16.1, 10.1, 5.5 (THUMOS14).",
    variants=(Variant("CPMN"),),
    published=Published(
        data="THUMOS14",
        preset="thumos14",
        tiou=(0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7),
        rows=(
            ("full", "Oneata et al.", (36.6, 33.6, 27.0, 20.8, 14.4, None, None)),
            ("full", "Richard et al.", (39.7, 35.7, 30.0, 23.2, 15.2, None, None)),
            ("full", "Shou et al.", (47.7, 43.5, 36.3, 28.7, 19.0, 10.3, 5.3)),
            ("full", "Yuan et al.", (51.0, 45.2, 36.5, 27.8, 17.8, None, None)),
            ("full", "Lin et al.", (50.1, 47.8, 43.0, 35.0, 24.6, 15.3, 7.7)),
            ("full", "Zhao et al.", (60.3, 56.2, 50.6, 40.8, 29.1, None, None)),
            ("full", "Gao et al.", (60.1, 56.7, 50.1, 41.3, 31.0, 19.1, 9.9)),
            ("weak", "Singh et al.", (36.4, 27.8, 19.5, 12.7, 6.8, None, None)),
            ("weak", "Wang et al.", (44.4, 37.7, 28.2, 21.1, 13.7, None, None)),
            ("weak", "CPMN", (47.1, 41.6, 32.8, 24.7, 16.1, 10.1, 5.5)),
        ),
    ),
)
