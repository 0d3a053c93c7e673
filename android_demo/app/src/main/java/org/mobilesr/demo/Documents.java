package org.mobilesr.demo;

import android.app.Activity;
import android.content.ActivityNotFoundException;
import android.content.Intent;
import android.net.Uri;
import android.widget.Toast;
import java.io.IOException;
import java.io.OutputStream;
import java.nio.charset.StandardCharsets;
import java.util.function.Consumer;

/** Files between this app and others: a model that is opened, results that are shared or saved. */
final class Documents {
    private static final int OPEN_MODEL = 1;
    private static final int EXPORT = 2;

    /** What reads or makes a text from files, in the background. */
    interface FileWork<T> {
        T get() throws IOException;
    }

    private final Activity activity;
    private final Consumer<String> failed;

    /** @param failed called on the main thread with one line. */
    Documents(Activity activity, Consumer<String> failed) {
        this.activity = activity;
        this.failed = failed;
    }

    /** Files are read in the background, and used on the main thread. */
    <T> void load(FileWork<T> work, Consumer<T> use) {
        Benchmarks.FILES.execute(() -> {
            try {
                T value = work.get();
                activity.runOnUiThread(() -> use.accept(value));
            } catch (IOException error) {
                activity.runOnUiThread(() -> failed.accept(error.getMessage()));
            }
        });
    }

    void openModel() {
        ask(new Intent(Intent.ACTION_OPEN_DOCUMENT).addCategory(Intent.CATEGORY_OPENABLE).setType("*/*"), OPEN_MODEL);
    }

    void share(String type, String text, int title) {
        Intent send = new Intent(Intent.ACTION_SEND).setType(type).putExtra(Intent.EXTRA_TEXT, text);
        activity.startActivity(Intent.createChooser(send, activity.getString(title)));
    }

    /** Asks where to save a JSON text. */
    void save(String name) {
        Intent intent = new Intent(Intent.ACTION_CREATE_DOCUMENT).addCategory(Intent.CATEGORY_OPENABLE);
        ask(intent.setType("application/json").putExtra(Intent.EXTRA_TITLE, name), EXPORT);
    }

    private void ask(Intent intent, int request) {
        try {
            activity.startActivityForResult(intent, request);
        } catch (ActivityNotFoundException error) {
            tell(activity.getString(R.string.no_app));
        }
    }

    /**
     * The answer to `openModel` or `save`.
     *
     * @param opened called with the name of the model in the app's folder.
     * @param text what to save, null for nothing.
     */
    void received(int request, int code, Intent data, Consumer<String> opened, String text) {
        if (code != Activity.RESULT_OK || data == null || data.getData() == null) {
            return;
        }
        Uri uri = data.getData();
        if (request == OPEN_MODEL) {
            load(() -> new Storage(activity).importModel(uri), opened);
        } else if (request == EXPORT && text != null) {
            load(() -> write(uri, text), written -> {});
        }
    }

    private Void write(Uri uri, String json) {
        try (OutputStream stream = activity.getContentResolver().openOutputStream(uri, "wt")) {
            if (stream == null) {
                throw new IOException(activity.getString(R.string.no_app));
            }
            stream.write(json.getBytes(StandardCharsets.UTF_8));
        } catch (IOException error) {
            activity.runOnUiThread(() -> tell(error.getMessage()));
        }
        return null;
    }

    void tell(String message) {
        Toast.makeText(activity, message, Toast.LENGTH_LONG).show();
    }
}
