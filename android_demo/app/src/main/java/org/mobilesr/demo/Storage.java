package org.mobilesr.demo;

import android.content.Context;
import android.database.Cursor;
import android.graphics.Bitmap;
import android.graphics.BitmapFactory;
import android.graphics.ColorSpace;
import android.net.Uri;
import android.provider.OpenableColumns;
import java.io.ByteArrayOutputStream;
import java.io.File;
import java.io.FileInputStream;
import java.io.FileNotFoundException;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.StandardCopyOption;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.mobilesr.core.Delegate;
import org.mobilesr.core.ModelFile;
import org.mobilesr.core.RgbImage;
import org.mobilesr.core.RunConfig;
import org.mobilesr.sr.Chip;
import org.mobilesr.sr.Engines;

/**
 * The app's files: models, images and results in its external folder, packaged models and images in its assets. A computer that
 * may not write to the external folder uses the internal one, by run-as: what lies there is read first.
 */
final class Storage {
    static final String MODELS = "models";
    static final String IMAGES = "images";
    static final String RESULTS = "results";
    /** The assets of IMAGES: an app's assets in a folder "images" are mixed with the system's own there. */
    private static final String IMAGE_ASSETS = "samples";

    /** Larger files are refused before they are read. */
    private static final int MOST_BYTES = 512 << 20;
    /** Larger images are refused before they are decoded: a small file may claim any size. */
    private static final int MOST_PIXELS = 64_000_000;

    private final Context context;

    Storage(Context context) {
        this.context = context.getApplicationContext();
    }

    /** @throws IOException when the storage is not there or full. */
    File folder(String name) throws IOException {
        File folder = context.getExternalFilesDir(name);
        if (folder == null || !(folder.isDirectory() || folder.mkdirs())) {
            throw new IOException("the storage for " + name + " is not available");
        }
        return folder;
    }

    /**
     * Packaged models as "asset:NAME", then those in the models folder, with the delegates of each. Those that are compiled for
     * another chip are left out. What is wrong with a file is said when it runs.
     */
    Map<String, List<Delegate>> models() throws IOException {
        Map<String, List<Delegate>> models = new LinkedHashMap<>();
        for (String name : names(MODELS, ".tflite")) {
            List<Delegate> delegates = delegates(name);
            if (!delegates.isEmpty()) {
                models.put(name, delegates);
            }
        }
        return models;
    }

    private List<Delegate> delegates(String model) {
        try {
            return Chip.delegates(new ModelFile(read(MODELS, model)));
        } catch (IOException | IllegalArgumentException error) {
            return Engines.delegates();
        }
    }

    /** Images, without the references that stand beside them. */
    List<String> images() throws IOException {
        List<String> names = names(IMAGES, ".png", ".jpg", ".jpeg", ".webp");
        names.removeIf(name -> name.endsWith("_hr.png"));
        return names;
    }

    private List<String> names(String folder, String... endings) throws IOException {
        List<String> found = new ArrayList<>();
        String[] packaged = context.getAssets().list(assets(folder));
        for (String name : packaged == null ? new String[0] : packaged) {
            found.add(RunConfig.ASSET + name);
        }
        String[] files = folder(folder).list();
        found.addAll(Arrays.asList(files == null ? new String[0] : files));
        found.removeIf(name -> Arrays.stream(endings).noneMatch(name.toLowerCase()::endsWith));
        found.sort(null);
        return found;
    }

    private static String assets(String folder) {
        return folder.equals(IMAGES) ? IMAGE_ASSETS : folder;
    }

    byte[] read(String folder, String name) throws IOException {
        try (InputStream stream = open(folder, name)) {
            return readAll(stream);
        } catch (FileNotFoundException error) {
            throw new IOException(name + " is not in the app's " + folder, error);
        }
    }

    /** The JSON file NAME.json beside a model NAME.tflite; null without one. */
    String sidecar(String model) throws IOException {
        try (InputStream stream = open(MODELS, model.replaceAll("\\.tflite$", "") + ".json")) {
            return new String(readAll(stream), StandardCharsets.UTF_8);
        } catch (FileNotFoundException error) {
            return null;
        }
    }

    private InputStream open(String folder, String name) throws IOException {
        if (name.startsWith(RunConfig.ASSET)) {
            return context.getAssets().open(assets(folder) + "/" + name.substring(RunConfig.ASSET.length()));
        }
        File file = new File(internal(folder), name);
        return new FileInputStream(file.isFile() ? file : new File(folder(folder), name));
    }

    private File internal(String folder) {
        return new File(context.getFilesDir(), folder);
    }

    private static byte[] readAll(InputStream stream) throws IOException {
        ByteArrayOutputStream bytes = new ByteArrayOutputStream();
        byte[] part = new byte[1 << 16];
        for (int count = stream.read(part); count >= 0; count = stream.read(part)) {
            if (bytes.size() > MOST_BYTES) {
                throw new IOException("the file is larger than 512 MB");
            }
            bytes.write(part, 0, count);
        }
        return bytes.toByteArray();
    }

    RgbImage readImage(String name) throws IOException {
        byte[] bytes = read(IMAGES, name);
        BitmapFactory.Options options = new BitmapFactory.Options();
        options.inJustDecodeBounds = true;
        BitmapFactory.decodeByteArray(bytes, 0, bytes.length, options);
        if ((long) options.outWidth * options.outHeight > MOST_PIXELS) {
            throw new IOException(name + " has " + options.outWidth + "x" + options.outHeight + " pixels; at most 64 million are read");
        }
        options.inJustDecodeBounds = false;
        options.inScaled = false;
        options.inPreferredColorSpace = ColorSpace.get(ColorSpace.Named.SRGB);
        Bitmap bitmap = BitmapFactory.decodeByteArray(bytes, 0, bytes.length, options);
        if (bitmap == null) {
            throw new IOException(name + " is no image that this device can read");
        }
        int[] pixels = new int[bitmap.getWidth() * bitmap.getHeight()];
        bitmap.getPixels(pixels, 0, bitmap.getWidth(), 0, 0, bitmap.getWidth(), bitmap.getHeight());
        RgbImage image = RgbImage.fromArgb(bitmap.getWidth(), bitmap.getHeight(), pixels);
        bitmap.recycle();
        return image;
    }

    /** The high-resolution original NAME_hr.png beside NAME.png; null when there is none. */
    RgbImage readReference(String name) {
        int dot = name.lastIndexOf('.');
        try {
            return dot < 0 ? null : readImage(name.substring(0, dot) + "_hr.png");
        } catch (IOException error) {
            return null;
        }
    }

    /** Copy a file that the system's chooser gave into the models folder. @return its name there. */
    String importModel(Uri uri) throws IOException {
        String name = displayName(uri).replaceAll("[^A-Za-z0-9._-]+", "_");
        name = name.endsWith(".tflite") ? name : name + ".tflite";
        try (InputStream stream = context.getContentResolver().openInputStream(uri)) {
            if (stream == null) {
                throw new IOException("the chosen file cannot be opened");
            }
            write(new File(folder(MODELS), name), readAll(stream));
        } catch (SecurityException error) {
            throw new IOException("the chosen file cannot be opened", error);
        }
        return name;
    }

    private String displayName(Uri uri) {
        try (Cursor cursor = context.getContentResolver()
                .query(uri, new String[] {OpenableColumns.DISPLAY_NAME}, null, null, null)) {
            if (cursor != null && cursor.moveToFirst() && cursor.getString(0) != null) {
                return cursor.getString(0);
            }
        }
        String last = uri.getLastPathSegment();
        return last == null ? "model" : last.substring(last.lastIndexOf('/') + 1);
    }

    /** Whether a benchmark of that name would replace a result. */
    boolean hasResult(String output) throws IOException {
        return result(output).exists() || new File(internal(RESULTS), output + ".json").exists();
    }

    File result(String output) throws IOException {
        RunConfig.checkOutput(output);
        return new File(folder(RESULTS), output + ".json");
    }

    /** Also to the internal folder, where a computer has made one. */
    void writeResult(String output, String json) throws IOException {
        File file = result(output);
        byte[] bytes = json.getBytes(StandardCharsets.UTF_8);
        if (internal(RESULTS).isDirectory()) {
            write(new File(internal(RESULTS), file.getName()), bytes);
        }
        write(file, bytes);
    }

    /** Under a temporary name first: whoever waits for the file never sees half of it. */
    private static void write(File file, byte[] bytes) throws IOException {
        File temporary = new File(file.getPath() + ".tmp");
        try {
            try (FileOutputStream stream = new FileOutputStream(temporary)) {
                stream.write(bytes);
                stream.getFD().sync();
            }
            Files.move(temporary.toPath(), file.toPath(), StandardCopyOption.ATOMIC_MOVE, StandardCopyOption.REPLACE_EXISTING);
        } finally {
            temporary.delete();
        }
    }

    /** The newest result first. */
    List<File> results() throws IOException {
        File[] files = folder(RESULTS).listFiles((folder, name) -> name.endsWith(".json"));
        List<File> found = new ArrayList<>(Arrays.asList(files == null ? new File[0] : files));
        found.sort((one, other) -> Long.compare(other.lastModified(), one.lastModified()));
        return found;
    }

    static String readText(File file) throws IOException {
        return new String(Files.readAllBytes(file.toPath()), StandardCharsets.UTF_8);
    }
}
