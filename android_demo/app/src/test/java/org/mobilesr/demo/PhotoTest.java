package org.mobilesr.demo;

import static org.junit.Assert.assertArrayEquals;
import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertFalse;
import static org.junit.Assert.assertNull;
import static org.junit.Assert.assertThrows;
import static org.junit.Assert.assertTrue;
import static org.robolectric.Shadows.shadowOf;

import android.content.ContentResolver;
import android.content.Context;
import android.content.Intent;
import android.database.Cursor;
import android.graphics.Bitmap;
import android.graphics.BitmapFactory;
import android.net.Uri;
import android.os.Looper;
import android.provider.MediaStore;
import android.view.KeyEvent;
import android.widget.SeekBar;
import android.widget.Spinner;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.FileNotFoundException;
import java.io.IOException;
import java.io.InputStream;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.After;
import org.junit.Before;
import org.junit.Test;
import org.junit.runner.RunWith;
import org.mobilesr.core.Bicubic;
import org.mobilesr.core.RgbImage;
import org.robolectric.Robolectric;
import org.robolectric.RobolectricTestRunner;
import org.robolectric.RuntimeEnvironment;
import org.robolectric.android.controller.ActivityController;
import org.robolectric.annotation.Config;
import org.robolectric.shadows.ShadowActivity;
import org.robolectric.shadows.ShadowToast;

/** A person's own photo: where it comes from, what is made of it, and where it goes. */
@RunWith(RobolectricTestRunner.class)
@Config(qualifiers = MainActivityTest.PHONE)
public class PhotoTest {
    private static final Uri GALLERY = Uri.parse("content://media/picker/7");

    private final Context context = RuntimeEnvironment.getApplication();
    private final ContentResolver resolver = context.getContentResolver();
    private ActivityController<MainActivity> controller;
    private MainActivity activity;

    @Before
    public void setUp() {
        HostLog.connect();
    }

    @After
    public void tearDown() {
        Photos.INSTANCE.cancel();
        Screens.await("the photo has ended", () -> !Photos.INSTANCE.isRunning());
        Photos.INSTANCE.dismiss();
        controller.close();
    }

    private void open(Intent intent) {
        controller = Robolectric.buildActivity(MainActivity.class, intent).setup();
        activity = controller.get();
        Screens.await("the lists are read", () -> ((Spinner) activity.findViewById(R.id.model)).getCount() > 0);
    }

    private void click(int id) {
        assertTrue(activity.findViewById(id).performClick());
        shadowOf(Looper.getMainLooper()).idle();
    }

    private static byte[] expected(String name) throws IOException {
        return Files.readAllBytes(Path.of(System.getProperty("mobilesr.expected"), name));
    }

    private void provide(Uri uri, byte[] bytes) {
        shadowOf(resolver).registerInputStreamSupplier(uri, () -> new ByteArrayInputStream(bytes));
    }

    private Intent pick() {
        click(R.id.pick_photo);
        ShadowActivity.IntentForResult asked = shadowOf(activity).getNextStartedActivityForResult();
        shadowOf(activity).receiveResult(asked.intent, MainActivity.RESULT_OK, new Intent().setData(GALLERY));
        return asked.intent;
    }

    private static byte[] rgba(byte[] png) {
        BitmapFactory.Options options = new BitmapFactory.Options();
        options.inPremultiplied = false;
        Bitmap bitmap = BitmapFactory.decodeByteArray(png, 0, png.length, options);
        int[] pixels = new int[bitmap.getWidth() * bitmap.getHeight()];
        bitmap.getPixels(pixels, 0, bitmap.getWidth(), 0, 0, bitmap.getWidth(), bitmap.getHeight());
        ByteBuffer bytes = ByteBuffer.allocate(4 * pixels.length);
        for (int pixel : pixels) {
            bytes.putInt(pixel << 8 | pixel >>> 24);
        }
        return bytes.array();
    }

    private static byte[] rgb(Bitmap bitmap) {
        int[] pixels = new int[bitmap.getWidth() * bitmap.getHeight()];
        bitmap.getPixels(pixels, 0, bitmap.getWidth(), 0, 0, bitmap.getWidth(), bitmap.getHeight());
        return RgbImage.fromArgb(bitmap.getWidth(), bitmap.getHeight(), pixels).rgb();
    }

    /** From the picker to the shared PNG, whose bytes of colour and alpha are those of `mobile-sr upscale`. */
    @Test
    public void aPhotoOfTheGalleryBecomesPythonsPng() throws IOException {
        open(new Intent(Intent.ACTION_MAIN));
        provide(GALLERY, expected("alpha.png"));
        assertEquals(MediaStore.ACTION_PICK_IMAGES, pick().getAction());
        Screens.awaitScreen(activity, MainActivity.PHOTO);
        String facts = Screens.text(activity, R.id.photo_facts);
        assertTrue(facts, facts.startsWith("220 x 230 to 660 x 690 in ") && facts.endsWith("; ran on: cpu 13 of 15"));
        click(R.id.photo_share);
        Intent shared = shadowOf(activity).getNextStartedActivity().getParcelableExtra(Intent.EXTRA_INTENT, Intent.class);
        assertEquals("image/png", shared.getType());
        assertTrue((shared.getFlags() & Intent.FLAG_GRANT_READ_URI_PERMISSION) != 0);
        Uri uri = shared.getParcelableExtra(Intent.EXTRA_STREAM, Uri.class);
        try (InputStream stream = resolver.openInputStream(uri)) {
            assertArrayEquals(expected("alpha_sr.rgba"), rgba(stream.readAllBytes()));
        }
        click(R.id.photo_save);
        ShadowActivity.IntentForResult asked = shadowOf(activity).getNextStartedActivityForResult();
        assertEquals(uri.getLastPathSegment(), asked.intent.getStringExtra(Intent.EXTRA_TITLE));
        ByteArrayOutputStream saved = new ByteArrayOutputStream();
        Uri target = Uri.parse("content://files/saved.png");
        shadowOf(resolver).registerOutputStream(target, saved);
        shadowOf(activity).receiveResult(asked.intent, MainActivity.RESULT_OK, new Intent().setData(target));
        long size = Photos.INSTANCE.state().result.png.length();
        Screens.await("it is saved", () -> saved.size() == size);
        click(R.id.photo_back);
        assertNull(Photos.INSTANCE.state());
    }

    @Test
    public void theSliderComparesWithBicubicAndZooms() throws IOException {
        open(new Intent(Intent.ACTION_MAIN));
        provide(GALLERY, resolverBytes("samples/chelsea.png"));
        pick();
        Screens.awaitScreen(activity, MainActivity.PHOTO);
        Screens.draw(activity, "photo", false);
        Photos.Result result = Photos.INSTANCE.state().result;
        assertArrayEquals(expected("xlsr_x3_uint8_chelsea.raw"), rgb(result.sr));
        BitmapFactory.Options options = new BitmapFactory.Options();
        byte[] bytes = resolverBytes("samples/chelsea.png");
        Bitmap input = BitmapFactory.decodeByteArray(bytes, 0, bytes.length, options);
        assertArrayEquals(Bicubic.enlarge(new RgbImage(150, 100, rgb(input)), 3).rgb(), rgb(result.bicubic));
        CompareView compare = activity.findViewById(R.id.photo_compare);
        ((SeekBar) activity.findViewById(R.id.photo_slider)).setProgress(300);
        assertEquals(0.3f, compare.border(), 1e-6);
        assertFalse("the whole image leaves the arrow keys alone", compare.onKeyDown(KeyEvent.KEYCODE_DPAD_LEFT, key(KeyEvent.KEYCODE_DPAD_LEFT)));
        for (float zoom : new float[] {2, 4}) {
            click(R.id.photo_zoom);
            assertEquals(zoom, compare.zoom(), 0);
        }
        assertTrue(compare.onKeyDown(KeyEvent.KEYCODE_DPAD_LEFT, key(KeyEvent.KEYCODE_DPAD_LEFT)));
        assertEquals(0.5f - 0.25f / 4, compare.centerX(), 1e-6);
        Screens.draw(activity, "photo_zoomed", false);
        click(R.id.photo_zoom);
        click(R.id.photo_zoom);
        assertEquals("and back", 1f, compare.zoom(), 0);
        controller.recreate();
        activity = controller.get();
        Screens.awaitScreen(activity, MainActivity.PHOTO);
    }

    private static KeyEvent key(int code) {
        return new KeyEvent(KeyEvent.ACTION_DOWN, code);
    }

    private byte[] resolverBytes(String asset) throws IOException {
        try (InputStream stream = context.getAssets().open(asset)) {
            return stream.readAllBytes();
        }
    }

    @Test
    public void theCameraWritesIntoOurFile() throws IOException {
        open(new Intent(Intent.ACTION_MAIN));
        click(R.id.take_photo);
        ShadowActivity.IntentForResult asked = shadowOf(activity).getNextStartedActivityForResult();
        assertEquals(MediaStore.ACTION_IMAGE_CAPTURE, asked.intent.getAction());
        assertTrue((asked.intent.getFlags() & Intent.FLAG_GRANT_WRITE_URI_PERMISSION) != 0);
        Uri target = asked.intent.getParcelableExtra(MediaStore.EXTRA_OUTPUT, Uri.class);
        try (var stream = resolver.openOutputStream(target, "w")) {
            stream.write(resolverBytes("samples/chelsea.png"));
        }
        shadowOf(activity).receiveResult(asked.intent, MainActivity.RESULT_OK, null);
        Screens.awaitScreen(activity, MainActivity.PHOTO);
        assertArrayEquals(expected("xlsr_x3_uint8_chelsea.raw"), rgb(Photos.INSTANCE.state().result.sr));
    }

    @Test
    public void aSharedPhotoIsUpscaledAndOurOwnFilesAreNot() throws IOException {
        provide(GALLERY, resolverBytes("samples/chelsea.png"));
        open(new Intent(Intent.ACTION_SEND).setType("image/png").putExtra(Intent.EXTRA_STREAM, GALLERY));
        Screens.awaitScreen(activity, MainActivity.PHOTO);
        click(R.id.photo_back);
        for (Uri wrong : new Uri[] {null, Uri.parse("file:///data/data/org.mobilesr.demo/files/x.png"), SharedFiles.uri("camera.jpg")}) {
            controller.newIntent(new Intent(Intent.ACTION_SEND).setType("image/png").putExtra(Intent.EXTRA_STREAM, wrong));
            assertEquals(context.getString(R.string.no_photo), ShadowToast.getTextOfLatestToast());
            ShadowToast.reset();
            assertNull(Photos.INSTANCE.state());
        }
    }

    @Test
    public void whatIsNoPhotoIsSaidInOneLine() throws IOException {
        open(new Intent(Intent.ACTION_MAIN));
        Object[][] wrong = {
            {expected("huge.png"), "the photo has 13200x13200 pixels; at most 24 million can be upscaled here"},
            {new byte[] {1, 2, 3}, "this file is no image that this device can read"},
        };
        for (Object[] pair : wrong) {
            provide(GALLERY, (byte[]) pair[0]);
            pick();
            Screens.await("it is said", () -> Screens.text(activity, R.id.choose_error).equals(pair[1]));
            assertEquals(MainActivity.CHOOSE, Screens.screen(activity));
        }
    }

    /** Turned as the camera was held, and from Display P3 to sRGB: as Python within two levels of decoding and rounding. */
    @Test
    public void photosAreReadAsInPython() throws IOException {
        open(new Intent(Intent.ACTION_MAIN));
        for (int orientation = 1; orientation <= 8; orientation++) {
            Uri uri = Uri.parse("content://media/picker/turned" + orientation);
            provide(uri, expected("turned_" + orientation + ".jpg"));
            Bitmap photo = PhotoReader.read(resolver, uri);
            assertEquals(orientation >= 5 ? 230 : 220, photo.getWidth());
            byte[] pixels = rgb(photo);
            byte[] python = expected("turned_" + orientation + ".raw");
            assertEquals(python.length, pixels.length);
            int most = 0;
            for (int i = 0; i < pixels.length; i++) {
                most = Math.max(most, Math.abs((pixels[i] & 255) - (python[i] & 255)));
            }
            assertTrue("orientation " + orientation + ": " + most + " levels", most <= 2);
        }
    }

    @Test
    public void onlyFilesOfTheSharedFolderAreServed() throws IOException {
        open(new Intent(Intent.ACTION_MAIN));
        Files.write(SharedFiles.folder(context).toPath().resolve("a_x3.png"), new byte[7]);
        try (Cursor cursor = resolver.query(SharedFiles.uri("a_x3.png"), null, null, null, null)) {
            assertTrue(cursor.moveToFirst());
            assertEquals("a_x3.png", cursor.getString(0));
            assertEquals(7, cursor.getLong(1));
        }
        assertEquals("image/png", resolver.getType(SharedFiles.uri("a_x3.png")));
        assertThrows(SecurityException.class, () -> resolver.openFileDescriptor(SharedFiles.uri("a_x3.png"), "w"));
        for (String name : new String[] {"../a", "..", "x/y", "%2e%2e%2fa", ""}) {
            Uri uri = Uri.parse("content://" + SharedFiles.AUTHORITY + "/" + name);
            assertThrows(name, FileNotFoundException.class, () -> resolver.openFileDescriptor(uri, "r"));
        }
    }
}
