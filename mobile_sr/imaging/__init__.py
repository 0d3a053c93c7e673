"""Images: reading and writing files, colour, resizing, metrics, sample images, flat colours and data-set layouts."""
