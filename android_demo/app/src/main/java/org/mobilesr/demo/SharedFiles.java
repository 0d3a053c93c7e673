package org.mobilesr.demo;

import android.content.ContentProvider;
import android.content.ContentValues;
import android.content.Context;
import android.database.Cursor;
import android.database.MatrixCursor;
import android.net.Uri;
import android.os.ParcelFileDescriptor;
import android.provider.OpenableColumns;
import java.io.File;
import java.io.FileNotFoundException;
import java.io.IOException;
import java.util.Locale;
import java.util.regex.Pattern;

/**
 * The files that other apps get: the upscaled photo to read, and the camera's file to write. It is not exported; an app reaches
 * only the file whose address an intent grants it.
 */
public final class SharedFiles extends ContentProvider {
    static final String AUTHORITY = "org.mobilesr.demo.shared";
    static final String CAMERA = "camera.jpg";
    private static final Pattern NAME = Pattern.compile("[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}");

    /** The address of a file of this folder. */
    static Uri uri(String name) {
        return new Uri.Builder().scheme("content").authority(AUTHORITY).path(name).build();
    }

    static File folder(Context context) throws IOException {
        File folder = new File(context.getCacheDir(), "shared");
        if (!folder.isDirectory() && !folder.mkdirs()) {
            throw new IOException("the app's folder for shared files is not available");
        }
        return folder;
    }

    /** The place for a new result. Earlier results are removed: they can be as large as the photos are. */
    static File replace(Context context, String name) throws IOException {
        File[] old = folder(context).listFiles((folder, file) -> file.endsWith(".png"));
        for (File file : old == null ? new File[0] : old) {
            file.delete();
        }
        return new File(folder(context), name);
    }

    @Override
    public boolean onCreate() {
        return true;
    }

    private File file(Uri uri) throws FileNotFoundException {
        String name = uri.getLastPathSegment();
        if (name == null || uri.getPathSegments().size() != 1 || !NAME.matcher(name).matches()) {
            throw new FileNotFoundException(uri + " is not shared");
        }
        try {
            return new File(folder(getContext()), name);
        } catch (IOException error) {
            throw new FileNotFoundException(error.getMessage());
        }
    }

    @Override
    public ParcelFileDescriptor openFile(Uri uri, String mode) throws FileNotFoundException {
        File file = file(uri);
        if (!mode.equals("r") && !file.getName().equals(CAMERA)) {
            throw new SecurityException(uri + " can only be read");
        }
        return ParcelFileDescriptor.open(file, ParcelFileDescriptor.parseMode(mode));
    }

    @Override
    public String getType(Uri uri) {
        return String.valueOf(uri.getLastPathSegment()).toLowerCase(Locale.ROOT).endsWith(".png") ? "image/png" : "image/jpeg";
    }

    @Override
    public Cursor query(Uri uri, String[] wanted, String selection, String[] arguments, String order) {
        String[] columns = wanted == null ? new String[] {OpenableColumns.DISPLAY_NAME, OpenableColumns.SIZE} : wanted;
        MatrixCursor cursor = new MatrixCursor(columns);
        try {
            File file = file(uri);
            MatrixCursor.RowBuilder row = cursor.newRow();
            for (String column : columns) {
                boolean name = column.equals(OpenableColumns.DISPLAY_NAME);
                row.add(name ? file.getName() : column.equals(OpenableColumns.SIZE) ? Long.valueOf(file.length()) : null);
            }
        } catch (FileNotFoundException error) {
            return cursor;
        }
        return cursor;
    }

    @Override
    public Uri insert(Uri uri, ContentValues values) {
        throw new UnsupportedOperationException();
    }

    @Override
    public int update(Uri uri, ContentValues values, String selection, String[] arguments) {
        throw new UnsupportedOperationException();
    }

    @Override
    public int delete(Uri uri, String selection, String[] arguments) {
        throw new UnsupportedOperationException();
    }
}
