"""The rows of the paper's Table 3: which parts of one trained model are used."""

TABLE3 = {
    "original T-CAS": ("localization.attention=false", "localization.mining=false"),
    "+ mining T-CAS": ("localization.attention=false",),
    "+ attention (CPMN)": (),
}
