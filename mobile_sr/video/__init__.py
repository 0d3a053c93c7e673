"""Video files and folders of frames: reading, writing, upscaling, PSNR over time and flicker. Video files need PyAV."""
