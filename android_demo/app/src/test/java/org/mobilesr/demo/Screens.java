package org.mobilesr.demo;

import static org.junit.Assert.assertTrue;
import static org.robolectric.Shadows.shadowOf;

import android.app.Activity;
import android.graphics.Bitmap;
import android.graphics.Canvas;
import android.os.Looper;
import android.view.View;
import android.widget.TableLayout;
import android.widget.TableRow;
import android.widget.TextView;
import android.widget.ViewFlipper;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.io.UncheckedIOException;
import java.nio.file.Path;
import java.util.function.BooleanSupplier;

/** What the tests do with a window: wait, read, draw. */
final class Screens {
    private Screens() {}

    /** Let the main thread work until something is so. */
    static void await(String what, BooleanSupplier condition) {
        long end = System.nanoTime() + 60_000_000_000L;
        shadowOf(Looper.getMainLooper()).idle();
        while (!condition.getAsBoolean()) {
            assertTrue("waited in vain until " + what, System.nanoTime() < end);
            try {
                Thread.sleep(10);
            } catch (InterruptedException error) {
                throw new IllegalStateException(error);
            }
            shadowOf(Looper.getMainLooper()).idle();
        }
    }

    static int screen(Activity activity) {
        return ((ViewFlipper) activity.findViewById(R.id.screens)).getDisplayedChild();
    }

    static void awaitScreen(Activity activity, int screen) {
        await("screen " + screen + " is shown", () -> screen(activity) == screen);
    }

    static String text(Activity activity, int id) {
        return ((TextView) activity.findViewById(id)).getText().toString();
    }

    static boolean visible(Activity activity, int id) {
        return activity.findViewById(id).getVisibility() == View.VISIBLE;
    }

    /** The value beside a label of the result's table, null when there is none. */
    static String value(Activity activity, String label) {
        TableLayout table = activity.findViewById(R.id.result_table);
        for (int i = 0; i < table.getChildCount(); i++) {
            TableRow row = (TableRow) table.getChildAt(i);
            if (((TextView) row.getChildAt(0)).getText().toString().equals(label)) {
                return ((TextView) row.getChildAt(1)).getText().toString();
            }
        }
        return null;
    }

    /** Draw the window to NAME.png; where it scrolls, `whole` draws all of it. */
    static void draw(Activity activity, String name, boolean whole) {
        shadowOf(Looper.getMainLooper()).idle();
        View window = activity.getWindow().getDecorView();
        int width = activity.getResources().getDisplayMetrics().widthPixels;
        int height = activity.getResources().getDisplayMetrics().heightPixels * (whole ? 2 : 1);
        window.measure(
                View.MeasureSpec.makeMeasureSpec(width, View.MeasureSpec.EXACTLY),
                View.MeasureSpec.makeMeasureSpec(height, View.MeasureSpec.EXACTLY));
        window.layout(0, 0, width, height);
        Bitmap bitmap = Bitmap.createBitmap(width, height, Bitmap.Config.ARGB_8888);
        window.draw(new Canvas(bitmap));
        Path file = Path.of(System.getProperty("mobilesr.screens"), name + ".png");
        try (OutputStream stream = new FileOutputStream(file.toFile())) {
            assertTrue(bitmap.compress(Bitmap.CompressFormat.PNG, 100, stream));
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
    }
}
