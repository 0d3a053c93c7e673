"""Write the page about the systems of the papers: `python -m tools.ntire2022 docs/reference/ntire2022.md`.

The challenge's systems come from mobile_sr/models/ntire2022/teams.py, the others from the lists below.
"""

import sys
from pathlib import Path

from mobile_sr.models.ntire2022.teams import TEAMS, Team

_HEAD = """# The systems of the papers

Written by `python -m tools.ntire2022 docs/reference/ntire2022.md`. The state of a system is one of:

- **published weights**: defined here, and [import-weights](../guide/published_weights.md) recognizes its checkpoint;
  **checked** means that it also gave the output of the authors' code, within 2e-5 of the largest output;
- **trained here** or **untrained**: defined here, without published weights that fit;
- **missing**: not defined here yet.
"""
_CHALLENGE = """## NTIRE 2022 efficient super-resolution

Li et al., CVPRW 2022, Table 1: x4, a 256x256 input. Our networks have the printed parameters, FLOPs, activations and numbers of
convolutions, except where a mean shift, a batch normalization or unused weights are folded away, for BSRN's FLOPs
([networks.md](networks.md)), and for two that only the report describes. The files are in the folder `model_zoo/` of
https://github.com/ofsoundof/NTIRE2022_ESR.

| team | system | parameters, M | FLOPs, G | activations, M | conv | PSNR, dB | `--net` | file | state |
|---|---|---|---|---|---|---|---|---|---|
"""
_OTHERS = """## Other systems

| paper | system | `--net` | state |
|---|---|---|---|
"""
OTHERS = (
    ("NTIRE 2024 (Wan et al., CVPRW 2024)", "SPAN", "span", "published weights"),
    ("Real-ESRGAN (Wang et al., ICCVW 2021)", "SRVGGNetCompact", "compact", "published weights"),
    ("IMDN (Hui et al., ACM MM 2019), published code", "IMDN-RTC", "imdn_rtc", "published weights"),
    ("NTIRE 2023 real-time (Bilecen and Ayazoglu, CVPRW 2023)", "Bicubic++", "bicubic_plus_plus", "published weights"),
    ("AIM 2020 (Zhao et al., ECCVW 2020)", "PAN", "pan", "published weights"),
    ("XLSR (Ayazoglu, CVPRW 2021)", "XLSR", "xlsr", "trained here, published weights (AIMET Model Zoo)"),
    ("XLSR", "FSRCNN", "fsrcnn", "trained here"),
    ("XLSR", "ESPCN", "espcn", "trained here"),
    ("AdaDSR (Liu et al., ECCVW 2020)", "EDSR, AdaEDSR, FAdaEDSR", "edsr", "trained here"),
    ("AdaDSR", "RCAN, AdaRCAN", "rcan", "untrained"),
    ("AdaDSR", "SRCNN", "srcnn", "untrained"),
    ("AdaDSR", "VDSR", "vdsr", "published weights"),
    ("FGNAS, NTIRE 2022", "IMDN as first published", "imdn_cca", "published weights"),
    ("AdaDSR", "RDN", "rdn", "published weights"),
    ("AdaDSR", "SAN", "san", "published weights"),
    ("FGNAS (Kim et al., JVCIR 2022)", "FGNAS", "fgnas", "trained here"),
    ("FGNAS", "ClassSR with FGNAS", "", "routing of any networks ([routing.md](../guide/routing.md))"),
    ("FGNAS", "CARN, CARN-M", "carn", "published weights"),
    ("FGNAS", "SRResNet of its Table 3 (BasicSR's)", "msrresnet", "published weights"),
    ("FGNAS", "SRResNet as first published", "srresnet", "published weights"),
    ("FGNAS", "WDSR", "wdsr", "published weights"),
    ("FGNAS", "SMSR, in dense form", "smsr", "published weights"),
    ("AIMET Model Zoo", "QuickSRNet (Berger et al., CVPRW 2023)", "quicksrnet", "published weights"),
    ("AIMET Model Zoo", "SESR (Bhardwaj et al., MLSys 2022)", "sesr", "published weights"),
)


def state(team: Team) -> str:
    """The state of a system of the challenge, in words."""
    parts = ["published weights" if team.file else "untrained"]
    return ", ".join([*parts, *(["checked"] if team.checked else []), *([team.remark] if team.remark else [])])


def _row(team: Team) -> str:
    measures = f"{team.parameters:.3f} | {team.flops:.2f} | {team.activations:.2f} | {team.convolutions} | {team.psnr:.2f}"
    file = f"`{team.file}`" if team.file else ""
    return f"| {team.name} | {team.system} | {measures} | `{team.network}` | {file} | {state(team)} |\n"


def page() -> str:
    """The page as Markdown."""
    teams = [team for team in TEAMS if team.name not in ("baseline", "AIM 2020 winner")]
    published, checked = len([team for team in teams if team.file]), len([team for team in teams if team.checked])
    summary = (
        f"The systems of all {len(teams)} teams are defined here, {published} with published weights, {checked} checked.\n"
        "The report does not give all sizes of `restormer` and `vlesr`: their docstrings list our choices, and by how much\n"
        "the measures differ. `nlffc` runs in float only, as a Keras model.\n\n"
    )
    rows = "".join(map(_row, TEAMS))
    others = "".join(f"| {paper} | {system} | {f'`{net}`' if net else ''} | {what} |\n" for paper, system, net, what in OTHERS)
    return f"{_HEAD}\n{_CHALLENGE.replace('| team', summary + '| team', 1)}{rows}\n{_OTHERS}{others}"


def main() -> None:
    """Writes the page."""
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        sys.exit("usage: python -m tools.ntire2022 docs/reference/ntire2022.md")
    Path(sys.argv[1]).write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
