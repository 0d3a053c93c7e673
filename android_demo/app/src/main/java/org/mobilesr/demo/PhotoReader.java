package org.mobilesr.demo;

import android.content.ContentResolver;
import android.graphics.Bitmap;
import android.graphics.BitmapFactory;
import android.graphics.ColorSpace;
import android.media.ExifInterface;
import android.net.Uri;
import java.io.IOException;
import java.io.InputStream;

/** Reads a photo as mobile_sr/imaging/images.py does: in sRGB, upright, with the colours under its alpha as stored. */
final class PhotoReader {
    /** Larger photos are refused before they are decoded: their pixels and a row of tiles have to fit into the memory. */
    static final long MOST_PIXELS = 24_000_000;

    private PhotoReader() {}

    /** @throws IOException with one line when it cannot be opened, is no image or is too large. */
    static Bitmap read(ContentResolver resolver, Uri uri) throws IOException {
        try {
            BitmapFactory.Options options = new BitmapFactory.Options();
            options.inJustDecodeBounds = true;
            decode(resolver, uri, options);
            if ((long) options.outWidth * options.outHeight > MOST_PIXELS) {
                String size = options.outWidth + "x" + options.outHeight;
                throw new IOException("the photo has " + size + " pixels; at most 24 million can be upscaled here");
            }
            options.inJustDecodeBounds = false;
            options.inScaled = false;
            options.inPremultiplied = false;
            options.inPreferredConfig = Bitmap.Config.ARGB_8888;
            options.inPreferredColorSpace = ColorSpace.get(ColorSpace.Named.SRGB);
            Bitmap photo = decode(resolver, uri, options);
            if (photo == null) {
                throw new IOException("this file is no image that this device can read");
            }
            return upright(photo, orientation(resolver, uri));
        } catch (SecurityException error) {
            throw new IOException("the photo cannot be opened", error);
        }
    }

    private static Bitmap decode(ContentResolver resolver, Uri uri, BitmapFactory.Options options) throws IOException {
        try (InputStream stream = open(resolver, uri)) {
            return BitmapFactory.decodeStream(stream, null, options);
        }
    }

    private static InputStream open(ContentResolver resolver, Uri uri) throws IOException {
        InputStream stream = resolver.openInputStream(uri);
        if (stream == null) {
            throw new IOException("the photo cannot be opened");
        }
        return stream;
    }

    /** 1 to 8 as EXIF defines them; 1 is upright, also for files without EXIF data or with damaged ones. */
    private static int orientation(ContentResolver resolver, Uri uri) {
        try (InputStream stream = open(resolver, uri)) {
            int found = new ExifInterface(stream).getAttributeInt(ExifInterface.TAG_ORIENTATION, 1);
            return found >= 1 && found <= 8 ? found : 1;
        } catch (IOException | RuntimeException error) {
            return 1;
        }
    }

    /** Without a Canvas, which takes no bitmap that is not premultiplied. */
    private static Bitmap upright(Bitmap photo, int orientation) {
        if (orientation == 1) {
            return photo;
        }
        int width = photo.getWidth();
        int height = photo.getHeight();
        boolean turned = orientation >= 5;
        boolean backwards = orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;
        boolean upwards = orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
        Bitmap result = Bitmap.createBitmap(turned ? height : width, turned ? width : height, Bitmap.Config.ARGB_8888, photo.hasAlpha());
        result.setPremultiplied(photo.isPremultiplied());
        int[] row = new int[width];
        for (int y = 0; y < height; y++) {
            photo.getPixels(row, 0, width, 0, y, width, 1);
            for (int i = 0; backwards && i < width / 2; i++) {
                int pixel = row[i];
                row[i] = row[width - 1 - i];
                row[width - 1 - i] = pixel;
            }
            int line = upwards ? height - 1 - y : y;
            result.setPixels(row, 0, turned ? 1 : width, turned ? line : 0, turned ? 0 : line, turned ? 1 : width, turned ? width : 1);
        }
        photo.recycle();
        return result;
    }
}
