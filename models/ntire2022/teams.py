"""The systems of the NTIRE 2022 efficient super-resolution challenge: what Table 1 prints about them, and our networks.

Source: Li et al., "NTIRE 2022 Challenge on Efficient Super-Resolution: Methods and Results", CVPRW 2022, Table 1, for x4 and a
256x256 input. The weights are in the folder model_zoo/ of https://github.com/ofsoundof/NTIRE2022_ESR, unless `file` is None.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any


@dataclasses.dataclass(frozen=True)
class Team:
    """A row of Table 1.

    Attributes:
        name: name of the team.
        system: name of the network in the report or in the published code.
        parameters: in millions.
        flops: multiply-adds by the challenge's script, in thousands of millions.
        activations: elements of the convolutions' outputs, in millions.
        convolutions: number of convolutions.
        psnr: on DIV2K's validation images in dB.
        network: name of our network.
        file: file of the published weights, None if they were not published.
        options: {argument of build(): value} that differ from the network's defaults.
        remark: what to know about our network.
        checked: whether our network has given the true output of the published one (docs/reference/ntire2022.md).
    """

    name: str
    system: str
    parameters: float
    flops: float
    activations: float
    convolutions: int
    psnr: float
    network: str
    file: str | None
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    remark: str = ""
    checked: bool = False


_RFDN40 = {"channels": 40, "distilled": 20, "attention": 10}
_REPORT = "built from the report"
TEAMS = (
    Team("ByteESR", "RLFN", 0.317, 19.70, 80.05, 39, 29.00, "rlfn", "team04_rlfn.pth", checked=True),
    Team("NJU_Jet", "FMEN", 0.341, 22.28, 72.09, 34, 29.00, "fmen", "team03_fmen.pth", checked=True),
    Team("NEESR", "EFDN", 0.272, 16.86, 79.59, 59, 29.01, "efdn", "team05_efdn.pt", checked=True),
    Team("Super", "RePAFDN", 0.326, 20.06, 93.82, 59, 29.00, "repafdn", "team10_repafdn.pth", checked=True),
    Team("MegSR", "pruned RFDN", 0.290, 17.70, 91.72, 64, 29.00, "pruned_rfdn", "team40_rfdn_pruned.pth"),
    Team("rainbow", "IMDN+", 0.276, 17.98, 92.80, 59, 29.01, "imdn_plus", "team39_imdn_plus.pth"),
    Team("VMCL_Taobao", "MSDN", 0.323, 20.97, 98.67, 40, 29.01, "msdn", "team44_msdn.pth", checked=True),
    Team(
        "Bilibili AI",
        "RFDN of 40 channels",
        0.283,
        17.61,
        90.50,
        64,
        29.00,
        "rfdn",
        "team22_rep_rfdn.pth",
        _RFDN40,
        checked=True,
    ),
    Team("NKU-ESR", "EFDN", 0.276, 16.73, 111.12, 65, 29.00, "efdn_nku", "team01_efdn.pth"),
    Team("NJUST_RESTORARION", "AFDN", 0.421, 27.67, 108.66, 52, 28.99, "afdn", "team15_afdn.pt", checked=True),
    Team("TOVBU", "FasterRFDN", 0.376, 22.38, 113.55, 64, 29.00, "faster_rfdn", "team25_frfdn.pth", checked=True),
    Team("Alpan Team", "RFDN with an ESA per convolution", 0.326, 12.31, 115.52, 132, 29.01, "esa_rfdn", "team31_sr_model.pth"),
    Team("Dragon", "ESAN", 0.358, 21.11, 120.15, 131, 29.01, "esan", "team34_esan.pt", checked=True),
    Team("TieGuoDun Team", "RFDN", 0.433, 27.10, 112.03, 64, 28.95, "rfdn", "team06_v1.pth", checked=True),
    Team("HiImageTeam", "ARFDN", 0.242, 14.51, 151.36, 100, 29.00, "arfdn", "team14_arfdn.pth"),
    Team(
        "xilinxSR",
        "IMDN of 7 blocks",
        0.790,
        51.76,
        136.31,
        38,
        29.05,
        "imdn",
        "team26_imdn_nb7.pth",
        {"blocks": 7},
        checked=True,
    ),
    Team("cipher", "ResDN", 0.407, 25.25, 155.35, 67, 29.00, "resdn", "team43_resdn.pth", checked=True),
    Team("NJU_MCG", "FDEN", 0.275, 17.65, 212.35, 84, 28.99, "fden", "team17_fden.pth", checked=True),
    Team("IMGWLH", "RLCSR", 0.362, 20.10, 136.35, 113, 29.01, "rlcsr", "team42_rlcsr.pt"),
    Team("imglhl", "RFESR", 0.381, 23.26, 144.05, 127, 29.03, "rfesr", "team36_rfesr.pt", checked=True),
    Team("whu_sigma", "dilated RFDN", 0.705, 43.88, 142.91, 64, 29.02, "dilated_rfdn", "team13_rfdn_dilated.pth", checked=True),
    Team("Aselsan Research", "IMDeception", 0.317, 20.71, 206.05, 134, 29.02, "imdeception", "team19_imdeception.pth"),
    Team("Drinktea", "AALN", 0.589, 36.92, 148.05, 67, 29.00, "aaln", "team11_aaln.pt"),
    Team("GDUT_SR", "PRRN", 0.414, 24.80, 260.05, 195, 29.05, "prrn", "team16_prrn.pth"),
    Team("Giantpandacv", "SCET", 0.683, 45.07, 361.23, 122, 29.07, "scet", "team30_scet.pth", checked=True),
    Team("neptune", "NASNetBN", 0.316, 38.03, 269.48, 45, 28.99, "nasnet_bn", "team28_nasnetbn.pth", checked=True),
    Team("XPixel", "BSRN", 0.156, 9.50, 65.76, 43, 29.01, "bsrn", "team18_bsrn.pth"),
    Team("NJUST_ESR", "MobileSR", 0.176, 8.73, 160.43, 25, 28.96, "mobilesr", "team20_mobilesr.pth"),
    Team("TeamInception", "isotropic Restormer", 0.505, 32.42, 502.27, 74, 29.12, "restormer", None, remark=_REPORT),
    Team("cceNBgdd", "VLESR", 0.339, 21.11, 404.16, 197, 28.97, "vlesr", None, remark=_REPORT),
    Team("ZLZ", "IMDTN", 0.372, 64.45, 57.51, 16, 29.00, "imdtn", "team09_imdtn.pth"),
    Team("Express", "NAS of RFDB", 0.339, 20.41, 325.53, 148, 29.04, "nas_rfdn", None, remark=_REPORT),
    Team("Just Try", "LWFANet", 0.832, 135.30, 392.43, 207, 29.12, "lwfanet", "team27_lwfanet.pth"),
    Team("ncepu_explorers", "MDAN", 0.390, 23.73, 994.25, 374, 29.09, "mdan", "team23_mdan.pt"),
    Team("mju_mnu", "HNCT", 0.345, 78.81, 46.76, 40, 29.06, "hnct", None),
    Team(
        *("Virtual_Reality Team", "NLFFC", 0.423, 423.16, 2731.08, 82, 27.35, "nlffc", "team02_nlffc.pth"),
        remark="no .tflite: it has FFTs",
    ),
    Team("NTU607QCO-ESR", "SFDN", 0.433, 27.06, 108.89, 60, 27.79, "sfdn", "team08_sfdn.pt"),
    Team("Strong Tiger", "MDGN", 0.560, 36.64, 78.91, 23, 29.00, "mdgn", "team24_mdgn.pth"),
    Team("VAP", "CL-RFDN", 0.175, 10.83, 70.93, 63, 29.01, "cl_rfdn", "team29_clrfdn.pth"),
    Team("Multicog", "m-RFDN", 0.312, 37.67, 430.23, 130, 28.38, "m_rfdn", "team33_m_rfdn.pth", checked=True),
    Team("Set5baby Team", "depthwise RFDN", 0.223, 13.98, 229.07, 88, 28.92, "depthwise_rfdn", "team35_rfdn.pt"),
    Team("NWPU_SweetDreamLab", "BMDN", 0.193, 11.73, 90.50, 76, 28.47, "bmdn", "team37_bmdn.pth"),
    Team("SSL", "RFDNeXt", 0.290, 18.95, 150.60, 48, 28.72, "rfdnext", "team38_rfdnext.pth"),
    Team("AIM 2020 winner", "RFDN", 0.433, 27.10, 112.03, 64, 29.04, "rfdn", "rfdn_baseline.pth", checked=True),
    Team("baseline", "IMDN", 0.894, 58.53, 154.14, 43, 29.13, "imdn", "imdn_baseline.pth", checked=True),
)
