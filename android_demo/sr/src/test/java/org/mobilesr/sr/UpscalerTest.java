package org.mobilesr.sr;

import static org.junit.Assert.assertArrayEquals;
import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertFalse;
import static org.junit.Assert.assertThrows;
import static org.junit.Assert.assertTrue;

import android.content.Context;
import android.graphics.Bitmap;
import android.graphics.BitmapFactory;
import java.io.ByteArrayOutputStream;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.concurrent.CancellationException;
import org.junit.Test;
import org.junit.runner.RunWith;
import org.mobilesr.core.Delegate;
import org.mobilesr.core.PngWriter;
import org.mobilesr.core.RgbImage;
import org.mobilesr.sample.JavaSample;
import org.mobilesr.sample.SampleKt;
import org.robolectric.RobolectricTestRunner;
import org.robolectric.RuntimeEnvironment;

/** The library with the real interpreter, against `mobile-sr upscale`. */
@RunWith(RobolectricTestRunner.class)
public class UpscalerTest {
    private static final String XLSR = "models/xlsr_x3_uint8.tflite";

    private final Context context = RuntimeEnvironment.getApplication();

    private static byte[] expected(String name) throws IOException {
        return Files.readAllBytes(Path.of(System.getProperty("mobilesr.expected"), name));
    }

    private static byte[] model(String name) throws IOException {
        return Files.readAllBytes(Path.of(System.getProperty("mobilesr.models"), name));
    }

    private Bitmap chelsea() throws IOException {
        try (InputStream stream = context.getAssets().open("samples/chelsea.png")) {
            return BitmapFactory.decodeStream(stream);
        }
    }

    /** Not premultiplied, so that the colours are those of the file. */
    private static Bitmap withAlpha() throws IOException {
        BitmapFactory.Options options = new BitmapFactory.Options();
        options.inPremultiplied = false;
        byte[] bytes = expected("alpha.png");
        return BitmapFactory.decodeByteArray(bytes, 0, bytes.length, options);
    }

    private static byte[] rgb(Bitmap bitmap) {
        int[] pixels = new int[bitmap.getWidth() * bitmap.getHeight()];
        bitmap.getPixels(pixels, 0, bitmap.getWidth(), 0, 0, bitmap.getWidth(), bitmap.getHeight());
        return RgbImage.fromArgb(bitmap.getWidth(), bitmap.getHeight(), pixels).rgb();
    }

    private Upscaler xlsr() throws IOException {
        return Upscaler.fromAsset(context, XLSR, new Upscaler.Options().threads(1));
    }

    @Test
    public void theLinesOfTheGuideGivePythonsBytes() throws IOException {
        byte[] expected = expected("xlsr_x3_uint8_chelsea.raw");
        assertArrayEquals(expected, rgb(SampleKt.enlarge(context, chelsea())));
        assertArrayEquals(expected, rgb(JavaSample.enlarge(context, chelsea())));
    }

    /** 230x220 in four tiles, with alpha and hidden colours, as rows and as a PNG. */
    @Test
    public void tilesAndAlphaArePythons() throws IOException {
        ByteArrayOutputStream file = new ByteArrayOutputStream();
        ByteBuffer rgba = ByteBuffer.allocate(4 * 660 * 690);
        int[] calls = new int[2];
        try (Upscaler upscaler = xlsr();
                PngWriter png = new PngWriter(file, 660, 690, true)) {
            assertEquals(3, upscaler.scale());
            upscaler.upscale(
                    withAlpha(),
                    (top, count, argb) -> {
                        calls[0]++;
                        assertEquals(rgba.position(), 4 * 660 * top);
                        for (int pixel : argb) {
                            rgba.putInt(pixel << 8 | pixel >>> 24);
                        }
                        png.write(argb, count);
                    },
                    (done, total) -> {
                        calls[1] = total;
                        return true;
                    });
        }
        assertArrayEquals(new int[] {2, 4}, calls);
        assertArrayEquals(expected("alpha_sr.rgba"), rgba.array());
        try (FileOutputStream stream = new FileOutputStream(Path.of(System.getProperty("mobilesr.screens"), "alpha.png").toFile())) {
            file.writeTo(stream); // Python reads it after these tests
        }
    }

    @Test
    public void aBitmapKeepsItsAlpha() throws IOException {
        try (Upscaler upscaler = xlsr()) {
            assertFalse(upscaler.upscale(chelsea()).hasAlpha());
            Bitmap result = upscaler.upscale(withAlpha());
            assertTrue(result.hasAlpha());
            assertEquals(expected("alpha_sr.rgba")[3] & 255, result.getPixel(0, 0) >>> 24);
        }
    }

    @Test
    public void aCancelledRunStops() throws IOException {
        try (Upscaler upscaler = xlsr()) {
            assertThrows(
                    CancellationException.class,
                    () -> upscaler.upscale(withAlpha(), (top, count, argb) -> {}, (done, total) -> done < 1));
        }
    }

    /** The sidecar says how many blocks there are: all run. */
    @Test
    public void aDepthIsThatOfTheOptionsOrAllBlocks() throws IOException {
        String sidecar = new String(model("ada_sparse_uint8.json"));
        byte[] file = model("ada_sparse_uint8.tflite");
        try (Upscaler upscaler = new Upscaler(file, sidecar, new Upscaler.Options())) {
            assertEquals(2, upscaler.scale());
            assertArrayEquals(expected("ada_sparse_uint8_dense_2.0_chelsea.raw"), rgb(upscaler.upscale(chelsea())));
        }
        try (Upscaler upscaler = new Upscaler(file, sidecar, new Upscaler.Options().depth(1.5))) {
            assertArrayEquals(expected("ada_sparse_uint8_dense_1.5_chelsea.raw"), rgb(upscaler.upscale(chelsea())));
        }
        Exception error = assertThrows(
                IllegalArgumentException.class, () -> new Upscaler(file, null, new Upscaler.Options()));
        assertEquals("this file needs a desired depth", error.getMessage());
    }

    @Test
    public void whatDoesNotFitIsRefused() throws IOException {
        byte[] file = model("tiny_int8.tflite");
        String other = new String(model("ada_sparse_uint8.json"));
        for (String[] wrong : new String[][] {
            {other, "the sidecar belongs to another file: its sha256 differs"}, {"{\"half\"", "the sidecar is damaged: "},
        }) {
            Exception error = assertThrows(
                    IllegalArgumentException.class, () -> new Upscaler(file, wrong[0], new Upscaler.Options()));
            assertTrue(error.getMessage(), error.getMessage().startsWith(wrong[1]));
        }
        assertThrows(
                IllegalArgumentException.class,
                () -> new Upscaler(file, null, new Upscaler.Options().delegate(Delegate.GPU)));
        assertThrows(
                IllegalArgumentException.class,
                () -> new Upscaler(file, null, new Upscaler.Options().delegate(Delegate.NNAPI)));
    }
}
