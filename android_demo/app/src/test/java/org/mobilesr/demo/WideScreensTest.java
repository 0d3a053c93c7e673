package org.mobilesr.demo;

import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertNotNull;
import static org.junit.Assert.assertTrue;

import android.content.Intent;
import android.content.pm.PackageManager;
import android.content.pm.ResolveInfo;
import android.view.FocusFinder;
import android.view.View;
import android.view.ViewGroup;
import android.widget.ScrollView;
import android.widget.Spinner;
import java.util.ArrayList;
import java.util.List;
import org.junit.After;
import org.junit.Test;
import org.junit.runner.RunWith;
import org.robolectric.Robolectric;
import org.robolectric.RobolectricTestRunner;
import org.robolectric.RuntimeEnvironment;
import org.robolectric.android.controller.ActivityController;
import org.robolectric.annotation.Config;
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
