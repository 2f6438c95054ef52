"""Table 2: mAP on ActivityNet-1.3 by both protocols, beside the rows the paper published.

    python -m experiments.run table2 --preset=activitynet13 --data_dir=activitynet_records \\
        --output_dir=runs/activitynet

The data are to be TSN scores of ActivityNet-1.3 (see the README); on any other data set our rows
are named as what they are, and the paper's are no comparison. The field reports this data set by
the protocol `activitynet`; the average is over tIoU 0.5:0.05:0.95. Writes table2.json, .md, .png.
"""

from experiments.harness.study import Published, Study, Variant

STUDY = Study(
    title="Table 2: mAP beside the published rows",
    paper="CPMN 39.29, 24.09, 6.71, 24.42 (ActivityNet-1.3).",
    variants=(Variant("CPMN"),),
    published=Published(
        data="ActivityNet-1.3",
        preset="activitynet13",
        tiou=(0.5, 0.75, 0.95),
        rows=(
            ("full", "Singh et al.", (34.5, None, None, None)),
            ("full", "Heilbron et al.", (40.00, 17.90, 4.70, 21.70)),
            ("full", "Wang et al.", (42.28, 3.76, 0.05, 14.85)),
            ("full", "Shou et al.", (43.83, 25.88, 0.21, 22.77)),
            ("full", "Xiong et al.", (39.12, 23.48, 5.49, 23.98)),
            ("full", "Lin et al.", (48.99, 32.91, 7.87, 32.26)),
            ("weak", "CPMN", (39.29, 24.09, 6.71, 24.42)),
        ),
    ),
)
