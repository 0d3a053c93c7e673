"""Evaluation: PSNR and SSIM over folders, the drop report, charts, scoreboards and challenge scores."""
