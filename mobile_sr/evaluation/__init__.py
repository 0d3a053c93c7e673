"""Evaluation: PSNR and SSIM on image folders, comparison of two models, drop reports and charts."""
