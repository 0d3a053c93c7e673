"""AdaDSR's depth maps and desired depths: the extensions of the Upscaler, of reports, of training and of the export."""
