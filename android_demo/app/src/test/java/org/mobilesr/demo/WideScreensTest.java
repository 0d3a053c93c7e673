package org.mobilesr.demo;

import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertFalse;
import static org.junit.Assert.assertNotNull;
import static org.junit.Assert.assertTrue;

import android.content.DialogInterface;
import android.content.Intent;
import android.content.pm.PackageManager;
import android.content.pm.ResolveInfo;
import android.view.FocusFinder;
import android.view.View;
import android.view.ViewGroup;
import android.widget.ListAdapter;
import android.widget.ListView;
import android.widget.ScrollView;
import android.widget.Spinner;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import org.junit.After;
import org.junit.Test;
import org.junit.runner.RunWith;
import org.robolectric.Robolectric;
import org.robolectric.RobolectricTestRunner;
import org.robolectric.RuntimeEnvironment;
import org.robolectric.android.controller.ActivityController;
import org.robolectric.annotation.Config;
import org.robolectric.shadows.ShadowAlertDialog;
import org.robolectric.shadows.ShadowInstrumentation;

/** Tablets and televisions. */
@RunWith(RobolectricTestRunner.class)
public class WideScreensTest {
    private ActivityController<MainActivity> controller;
    private MainActivity activity;

    @After
    public void tearDown() {
        controller.close();
    }

    private void open() {
        controller = Robolectric.buildActivity(MainActivity.class, new Intent(Intent.ACTION_MAIN)).setup();
        activity = controller.get();
        Screens.await("the lists are read", () -> ((Spinner) activity.findViewById(R.id.model)).getCount() > 0
                && ((Spinner) activity.findViewById(R.id.image)).getCount() > 0);
    }

    private float side() {
        View form = ((ViewGroup) ((ViewGroup) activity.findViewById(R.id.screens)).getChildAt(MainActivity.CHOOSE)).getChildAt(0);
        return form.getPaddingLeft() / activity.getResources().getDisplayMetrics().density;
    }

    @Test
    @Config(qualifiers = "w820dp-h1180dp-port-notnight-hdpi")
    public void aTabletHasWiderMargins() {
        open();
        assertEquals(96, side(), 0.5);
        Screens.draw(activity, "choose_tablet", false);
    }

    @Test
    @Config(qualifiers = "w820dp-h1180dp-port-night-hdpi")
    public void aTabletInTheDark() {
        open();
        Screens.draw(activity, "choose_tablet_dark", false);
    }

    @Test
    @Config(qualifiers = "w891dp-h411dp-land-notnight-xhdpi")
    public void aPhoneOnItsSideHasNot() {
        open();
        assertEquals(16, side(), 0.5);
    }

    /** From the first control, the arrow key reaches all of them, the last button included, and comes back. */
    @Test
    @Config(qualifiers = "w960dp-h540dp-land-television-night-xhdpi-notouch-dpad")
    public void theArrowKeysReachEverything() {
        ShadowInstrumentation.getInstrumentation().setInTouchMode(false);
        open();
        View run = activity.findViewById(R.id.run);
        run.requestFocus();
        Screens.draw(activity, "choose_tv", false);
        assertEquals(96, side(), 0.5);
        ViewGroup form = (ViewGroup) ((ScrollView) ((ViewGroup) activity.findViewById(R.id.screens)).getChildAt(MainActivity.CHOOSE)).getChildAt(0);
        List<View> reached = new ArrayList<>();
        for (View view = activity.findViewById(R.id.model); view != null; view = next(form, view, View.FOCUS_DOWN)) {
            assertTrue("no circle", !reached.contains(view));
            reached.add(view);
        }
        for (int id : new int[] {R.id.open_model, R.id.image, R.id.delegate, R.id.run, R.id.pick_photo, R.id.take_photo, R.id.open_history}) {
            assertTrue(activity.getResources().getResourceEntryName(id), reached.contains(activity.findViewById(id)));
        }
        assertEquals(activity.findViewById(R.id.open_history), reached.get(reached.size() - 1));
        assertNotNull(next(form, activity.findViewById(R.id.open_history), View.FOCUS_UP));
    }

    private static View next(ViewGroup form, View from, int direction) {
        return FocusFinder.getInstance().findNextFocus(form, from, direction);
    }

    @Test
    @Config(qualifiers = "w960dp-h540dp-land-television-notnight-xhdpi-notouch-dpad")
    public void aTelevisionInTheLight() {
        open();
        Screens.draw(activity, "choose_tv_light", false);
    }

    private static String result(String model, String delegate, int width, double median, String error) {
        String latency = error == null
                ? String.format(Locale.ROOT, "{\"min\": %f, \"p50\": %f, \"p90\": %f}", 0.9 * median, median, 1.2 * median)
                : "null";
        return String.format(
                "{\"format\": \"mobile-sr benchmark 1\", \"where\": \"device\", \"environment\": {\"manufacturer\": \"Google\","
                        + " \"device\": \"Pixel 8\", \"width\": %d, \"height\": 360, \"date\": \"2026-11-22T01:02:03Z\"},"
                        + " \"results\": [{\"model\": \"%s\", \"sha256\": \"%s\", \"requested_delegate\": \"%s\", \"threads\": 4,"
                        + " \"effective_delegate\": \"%s\", \"latency_ms\": %s, \"error\": %s}]}",
                width, model, model.hashCode(), delegate, delegate, latency, error == null ? "null" : '"' + error + '"');
    }

    /** Three results of two files in the history, which are then all compared; null leaves out one of another image size. */
    private void compare(Integer otherWidth) throws IOException {
        Storage storage = new Storage(RuntimeEnvironment.getApplication());
        Path folder = storage.folder(Storage.RESULTS).toPath();
        Files.writeString(folder.resolve("run-20261122-010203.000-1.json"), result("xlsr_x3_uint8.tflite", "cpu", 640, 12.5, null));
        Files.writeString(folder.resolve("run-20261122-010203.000-2.json"), result("abpn_x3_uint8.tflite", "gpu", 640, 20, null));
        Files.writeString(folder.resolve("run-20261122-010203.000-3.json"), result("abpn_x3_uint8.tflite", "nnapi", 640, 0, "refused"));
        if (otherWidth != null) {
            Files.writeString(folder.resolve("run-20261122-010203.000-4.json"), result("abpn_x3_uint8.tflite", "cpu", otherWidth, 9, null));
        }
        open();
        activity.findViewById(R.id.open_history).performClick();
        Screens.await("it is read", () -> {
            ListAdapter adapter = ((ListView) activity.findViewById(R.id.history_list)).getAdapter();
            return adapter != null && adapter.getCount() >= 3;
        });
        activity.findViewById(R.id.history_compare).performClick();
        ShadowAlertDialog.getLatestAlertDialog().getButton(DialogInterface.BUTTON_POSITIVE).performClick();
        Screens.awaitScreen(activity, MainActivity.COMPARE);
    }

    @Test
    @Config(qualifiers = "w960dp-h540dp-land-television-night-xhdpi-notouch-dpad")
    public void comparingOnATelevision() throws IOException {
        ShadowInstrumentation.getInstrumentation().setInTouchMode(false);
        compare(null);
        assertFalse(Screens.visible(activity, R.id.compare_warning));
        Screens.draw(activity, "compare_tv", false);
        ViewGroup screen = activity.findViewById(R.id.compare_scroll);
        assertTrue(activity.findViewById(R.id.compare_back).isFocused());
        View csv = next((ViewGroup) screen.getChildAt(0), activity.findViewById(R.id.compare_back), View.FOCUS_DOWN);
        assertEquals(activity.findViewById(R.id.compare_csv), csv);
        assertEquals(activity.findViewById(R.id.compare_json), next((ViewGroup) screen.getChildAt(0), csv, View.FOCUS_DOWN));
    }

    @Test
    @Config(qualifiers = "w820dp-h1180dp-port-notnight-hdpi")
    public void comparingOtherSizesOnATablet() throws IOException {
        compare(150);
        assertTrue(Screens.visible(activity, R.id.compare_warning));
        Screens.draw(activity, "compare_tablet", false);
    }

    @Test
    @Config(qualifiers = "w411dp-h891dp-port-night-xhdpi")
    public void comparingInTheDark() throws IOException {
        compare(null);
        Screens.draw(activity, "compare_dark", false);
    }

    /** In landscape the form has two columns, and the button is on the screen. */
    @Test
    @Config(qualifiers = "w891dp-h411dp-land-notnight-xhdpi")
    public void landscapeHasTwoColumns() {
        open();
        Screens.draw(activity, "choose_landscape", false);
        int[] model = new int[2];
        int[] run = new int[2];
        activity.findViewById(R.id.model).getLocationInWindow(model);
        activity.findViewById(R.id.run).getLocationInWindow(run);
        assertTrue("beside the form", run[0] > model[0] + activity.findViewById(R.id.model).getWidth());
        int bottom = run[1] + activity.findViewById(R.id.run).getHeight();
        assertTrue("on the screen", bottom <= activity.getResources().getDisplayMetrics().heightPixels);
    }

    @Test
    public void aTelevisionListsTheApp() {
        open();
        PackageManager packages = RuntimeEnvironment.getApplication().getPackageManager();
        Intent home = new Intent(Intent.ACTION_MAIN).addCategory(Intent.CATEGORY_LEANBACK_LAUNCHER);
        List<ResolveInfo> found = packages.queryIntentActivities(home, 0);
        assertEquals(1, found.size());
        assertEquals(MainActivity.class.getName(), found.get(0).activityInfo.name);
        assertNotNull(RuntimeEnvironment.getApplication().getApplicationInfo().loadBanner(packages));
    }
}
