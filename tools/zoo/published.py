"""Published figures of papers, for comparison with the zoo's."""

import dataclasses

_FGNAS = "Kim et al., JVCIR 2022, Table 2"
_XLSR = "Ayazoglu, CVPRW 2021, Table 4"
_ADADSR = "Liu et al., ECCVW 2020, Table {}"
_CARN_M = 'Printed as "CARN"; the parameters are those of CARN-M, its smaller model.'
_EDSR_X4 = "Parameters and Mult-Adds as printed, the same as SResNet's there; we count 1,517,571 and 114.2 G."


@dataclasses.dataclass
class Row:
    """A network of a paper's table; None where the table prints no value.

    `cost` is in multiply-adds of a 1280x720 output, `psnr` in dB (Y, float) on Set5, Set14 and B100, `note` a footnote.
    """

    name: str
    source: str
    parameters: int | None
    cost: float | None
    psnr: tuple
    note: str = ""


XLSR_X3 = Row("XLSR", _XLSR, 21_947, 2.213e9, (33.42, 29.73, 28.55), "Parameters and Mult-Adds are our count.")
BELOW_XLSR = {"fsrcnn_x3": 0.43, "espcn_x3": 0.56}  # dB in RGB, float32, there in Table 5 (30.10; 29.67 and 29.54)
XLSR_DROP = 0.28  # dB in RGB on DIV2K's validation images, float32 to uint8, there in Table 5 (30.10, 29.82)

# By scale.
ROWS = {
    2: [
        Row("bicubic", _ADADSR.format(1), None, None, (33.66, 30.24, 29.56)),
        Row("SRCNN", _FGNAS, 57_000, 52.7e9, (36.66, 32.42, 31.36)),
        Row("VDSR", _FGNAS, 665_000, 612.6e9, (37.53, 33.03, 31.90)),
        Row("CARN-M", _FGNAS, 412_000, 91.2e9, (37.53, 33.26, 31.92), _CARN_M),
        Row("EDSR, 16 blocks of 64", _FGNAS, 1_370_000, 315.1e9, (37.99, 33.57, 32.16)),
        Row("IMDN", _FGNAS, 694_000, 159.4e9, (38.00, 33.63, 32.19)),
        Row("FGNAS-S", _FGNAS, 212_000, 46.6e9, (37.94, 33.50, 32.14)),
        Row("AdaEDSR, 32 blocks of 256, d = 8", _ADADSR.format(3), None, None, (38.10, None, None)),
    ],
    3: [
        Row("bicubic", _ADADSR.format(1), None, None, (30.39, 27.55, 27.21)),
        XLSR_X3,
        Row("FSRCNN", _XLSR, None, None, (33.16, 29.43, 28.60)),
        Row("ESPCN", _XLSR, None, None, (33.13, 29.42, 28.50)),
        Row("SRCNN", _FGNAS, 57_000, 52.7e9, (32.75, 29.28, 28.41)),
        Row("VDSR", _FGNAS, 665_000, 612.6e9, (33.66, 29.77, 28.82)),
        Row("CARN-M", _FGNAS, 412_000, 46.1e9, (33.99, 30.08, 28.91), _CARN_M),
        Row("EDSR, 16 blocks of 64", _FGNAS, 1_551_000, 158.9e9, (34.37, 30.28, 29.09)),
        Row("IMDN", _FGNAS, 703_000, 71.9e9, (34.36, 30.32, 29.09)),
        Row("FGNAS-S", _FGNAS, 221_000, 22.3e9, (34.33, 30.24, 29.03)),
    ],
    4: [
        Row("bicubic", _ADADSR.format(1), None, None, (28.42, 26.00, 25.96)),
        Row("SRCNN", _FGNAS, 57_000, 52.7e9, (30.48, 27.49, 26.90)),
        Row("VDSR", _FGNAS, 665_000, 612.6e9, (31.35, 28.01, 27.29)),
        Row("CARN-M", _FGNAS, 412_000, 32.5e9, (31.92, 28.42, 27.44), _CARN_M),
        Row("EDSR, 16 blocks of 64", _FGNAS, 1_810_000, 104.2e9, (32.09, 28.58, 27.57), _EDSR_X4),
        Row("IMDN", _FGNAS, 715_000, 41.5e9, (32.21, 28.58, 27.56)),
        Row("FGNAS-S", _FGNAS, 233_000, 12.8e9, (31.97, 28.44, 27.46)),
    ],
}
