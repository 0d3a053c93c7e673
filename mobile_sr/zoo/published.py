"""What papers publish, beside which the zoo's figures stand."""

_FGNAS = "Kim et al., JVCIR 2022, Table 2"
_XLSR = "Ayazoglu, CVPRW 2021, Table 4"

# scale -> [(network, where, parameters, multiply-adds of a 1280x720 output (of XLSR our count), PSNR in dB (Y, float) on SETS)]
ROWS = {
    2: [
        ("SRCNN", _FGNAS, 57_000, 52.7e9, (36.66, 32.42, 31.36)),
        ("VDSR", _FGNAS, 665_000, 612.6e9, (37.53, 33.03, 31.90)),
        ("CARN", _FGNAS, 412_000, 91.2e9, (37.53, 33.26, 31.92)),
        ("EDSR, 16 blocks of 64", _FGNAS, 1_370_000, 315.1e9, (37.99, 33.57, 32.16)),
        ("IMDN", _FGNAS, 694_000, 159.4e9, (38.00, 33.63, 32.19)),
        ("FGNAS-S", _FGNAS, 212_000, 46.6e9, (37.94, 33.50, 32.14)),
    ],
    3: [
        ("XLSR", _XLSR, 21_947, 2.213e9, (33.42, 29.73, 28.55)),
        ("SRCNN", _FGNAS, 57_000, 52.7e9, (32.75, 29.28, 28.41)),
        ("VDSR", _FGNAS, 665_000, 612.6e9, (33.66, 29.77, 28.82)),
        ("CARN", _FGNAS, 412_000, 46.1e9, (33.99, 30.08, 28.91)),
        ("IMDN", _FGNAS, 703_000, 71.9e9, (34.36, 30.32, 29.09)),
        ("FGNAS-S", _FGNAS, 221_000, 22.3e9, (34.33, 30.24, 29.03)),
    ],
    4: [
        ("SRCNN", _FGNAS, 57_000, 52.7e9, (30.48, 27.49, 26.90)),
        ("VDSR", _FGNAS, 665_000, 612.6e9, (31.35, 28.01, 27.29)),
        ("CARN", _FGNAS, 412_000, 32.5e9, (31.92, 28.42, 27.44)),
        ("IMDN", _FGNAS, 715_000, 41.5e9, (32.21, 28.58, 27.56)),
        ("FGNAS-S", _FGNAS, 233_000, 12.8e9, (31.97, 28.44, 27.46)),
    ],
}
