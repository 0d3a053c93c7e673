package org.mobilesr.demo;

import android.app.Activity;
import android.content.ActivityNotFoundException;
import android.content.ClipData;
import android.content.ContentResolver;
import android.content.Intent;
import android.net.Uri;
import android.os.Build;
import android.provider.MediaStore;
import android.widget.SeekBar;
import android.widget.TextView;
import android.widget.Toast;
import java.io.IOException;
import java.io.OutputStream;
import java.nio.file.Files;
import java.util.function.Consumer;

/** Where photos come from (gallery, camera, another app's share), and the result with its slider, zoom, share and save. */
final class PhotoScreen {
    static final int PICK = 10;
    static final int CAPTURE = 11;
    static final int SAVE = 12;
    private static final float[] ZOOMS = {1, 2, 4, 8};

    private final Activity activity;
    private final Consumer<Uri> use;
    private final CompareView compare;
    private final SeekBar slider;
    private Photos.Result shown;

    /** @param use called with each photo that was chosen, taken or shared. */
    PhotoScreen(Activity activity, Consumer<Uri> use) {
        this.activity = activity;
        this.use = use;
        compare = activity.findViewById(R.id.photo_compare);
        slider = activity.findViewById(R.id.photo_slider);
        slider.setOnSeekBarChangeListener(compare);
        compare.onMoved(() -> slider.setProgress(Math.round(1000 * compare.border())));
    }

    Photos.Result shown() {
        return shown;
    }

    void show(Photos.Result result) {
        shown = result;
        compare.show(result.bicubic, result.sr);
        slider.setProgress(500);
        ((TextView) activity.findViewById(R.id.photo_facts)).setText(result.facts);
    }

    /** The system's photo picker, or before Android 13 its file chooser. */
    void pick() {
        Intent documents = new Intent(Intent.ACTION_OPEN_DOCUMENT).addCategory(Intent.CATEGORY_OPENABLE).setType("image/*");
        if (Build.VERSION.SDK_INT >= Build.VERSION_CODES.TIRAMISU) {
            try {
                activity.startActivityForResult(new Intent(MediaStore.ACTION_PICK_IMAGES).setType("image/*"), PICK);
                return;
            } catch (ActivityNotFoundException error) {
                // Some televisions have none.
            }
        }
        start(documents, PICK);
    }

    /** The camera app writes into our file; this app itself needs no permission for the camera. */
    void capture() {
        try {
            Files.deleteIfExists(SharedFiles.folder(activity).toPath().resolve(SharedFiles.CAMERA));
        } catch (IOException error) {
            tell(error.getMessage());
            return;
        }
        Uri target = SharedFiles.uri(SharedFiles.CAMERA);
        Intent intent = new Intent(MediaStore.ACTION_IMAGE_CAPTURE).putExtra(MediaStore.EXTRA_OUTPUT, target);
        intent.setClipData(ClipData.newRawUri(null, target));
        intent.addFlags(Intent.FLAG_GRANT_WRITE_URI_PERMISSION | Intent.FLAG_GRANT_READ_URI_PERMISSION);
        start(intent, CAPTURE);
    }

    /** @return whether the result was one that this screen had asked for. */
    boolean received(int request, int code, Intent data) {
        if (request < PICK || request > SAVE) {
            return false;
        }
        if (code == Activity.RESULT_OK) {
            Uri uri = data == null ? null : data.getData();
            if (request == CAPTURE) {
                use.accept(SharedFiles.uri(SharedFiles.CAMERA));
            } else if (request == PICK && uri != null) {
                use.accept(uri);
            } else if (request == SAVE && uri != null && shown != null) {
                Photos.Result result = shown;
                Benchmarks.FILES.execute(() -> save(result, uri));
            }
        }
        return true;
    }

    /**
     * A photo that another app shares. It comes from that app's provider: an address of our own files, or one that is no
     * content at all, would make us read what the sender may not.
     */
    void receive(Intent intent) {
        Uri uri = stream(intent);
        boolean content = uri != null && ContentResolver.SCHEME_CONTENT.equals(uri.getScheme());
        String own = activity.getPackageName();
        if (!content || uri.getAuthority() == null || uri.getAuthority().startsWith(own)) {
            tell(activity.getString(R.string.no_photo));
            return;
        }
        use.accept(uri);
    }

    @SuppressWarnings("deprecation") // Its successor needs Android 13.
    private static Uri stream(Intent intent) {
        try {
            return intent.getParcelableExtra(Intent.EXTRA_STREAM) instanceof Uri uri ? uri : null;
        } catch (RuntimeException error) { // an object of a class that this app lacks
            return null;
        }
    }

    void share() {
        Uri uri = SharedFiles.uri(shown.png.getName());
        Intent send = new Intent(Intent.ACTION_SEND).setType("image/png").putExtra(Intent.EXTRA_STREAM, uri);
        send.setClipData(ClipData.newRawUri(null, uri));
        send.addFlags(Intent.FLAG_GRANT_READ_URI_PERMISSION);
        activity.startActivity(Intent.createChooser(send, activity.getString(R.string.share_png)));
    }

    void askWhereToSave() {
        Intent intent = new Intent(Intent.ACTION_CREATE_DOCUMENT).addCategory(Intent.CATEGORY_OPENABLE).setType("image/png");
        start(intent.putExtra(Intent.EXTRA_TITLE, shown.png.getName()), SAVE);
    }

    private void save(Photos.Result result, Uri target) {
        try (OutputStream stream = activity.getContentResolver().openOutputStream(target, "wt")) {
            if (stream == null) {
                throw new IOException(activity.getString(R.string.no_app));
            }
            Files.copy(result.png.toPath(), stream);
        } catch (IOException error) {
            activity.runOnUiThread(() -> tell(error.getMessage()));
        }
    }

    /** To the next zoom, and from the last one back to the whole image. */
    void zoom() {
        float next = ZOOMS[0];
        for (int i = ZOOMS.length - 1; i > 0; i--) {
            next = compare.zoom() < ZOOMS[i] ? ZOOMS[i] : next;
        }
        compare.setZoom(next);
    }

    private void start(Intent intent, int request) {
        try {
            activity.startActivityForResult(intent, request);
        } catch (ActivityNotFoundException error) {
            tell(activity.getString(R.string.no_app));
        }
    }

    private void tell(String message) {
        Toast.makeText(activity, message, Toast.LENGTH_LONG).show();
    }
}
