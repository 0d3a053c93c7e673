"""Image files, colour management, resizing, metrics, test images and data-set layouts."""
