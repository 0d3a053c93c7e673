package org.mobilesr.demo;

import static org.junit.Assert.assertArrayEquals;
import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertFalse;
import static org.junit.Assert.assertNotNull;
import static org.junit.Assert.assertNull;
import static org.junit.Assert.assertTrue;
import static org.robolectric.Shadows.shadowOf;

import android.app.AlertDialog;
import android.content.DialogInterface;
import android.content.Intent;
import android.graphics.Bitmap;
import android.net.Uri;
import android.os.Looper;
import android.view.View;
import android.view.ViewGroup;
import android.view.WindowManager;
import android.widget.EditText;
import android.widget.ListView;
import android.widget.ProgressBar;
import android.widget.SeekBar;
import android.widget.Spinner;
import android.widget.TextView;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.json.JSONObject;
import org.junit.After;
import org.junit.Before;
import org.junit.Test;
import org.junit.runner.RunWith;
import org.mobilesr.core.ModelFile;
import org.mobilesr.core.RgbImage;
import org.robolectric.Robolectric;
import org.robolectric.RobolectricTestRunner;
import org.robolectric.RuntimeEnvironment;
import org.robolectric.android.controller.ActivityController;
import org.robolectric.annotation.Config;
import org.robolectric.shadows.ShadowActivity;
import org.robolectric.shadows.ShadowAlertDialog;

/** The screens, as a person uses them, with the real interpreter. */
@RunWith(RobolectricTestRunner.class)
@Config(qualifiers = MainActivityTest.PHONE)
public class MainActivityTest {
    static final String PHONE = "w411dp-h891dp-port-notnight-xhdpi";

    private ActivityController<MainActivity> controller;
    private MainActivity activity;
    private Storage storage;

    @Before
    public void setUp() {
        HostLog.connect();
        storage = new Storage(RuntimeEnvironment.getApplication());
        open();
    }

    private void open() {
        controller = Robolectric.buildActivity(MainActivity.class, new Intent(Intent.ACTION_MAIN)).setup();
        activity = controller.get();
        Screens.await("the lists are read", () -> spinner(R.id.model).getCount() > 0 && spinner(R.id.image).getCount() > 0);
    }

    @After
    public void tearDown() {
        Benchmarks.INSTANCE.cancel();
        Screens.await("the benchmark has ended", () -> !Benchmarks.INSTANCE.isRunning());
        Benchmarks.INSTANCE.dismiss();
        controller.close();
    }

    private Spinner spinner(int id) {
        return activity.findViewById(id);
    }

    private void choose(int id, String name) {
        Spinner spinner = spinner(id);
        for (int i = 0; i < spinner.getCount(); i++) {
            if (spinner.getItemAtPosition(i).toString().startsWith(name)) {
                spinner.setSelection(i);
                return;
            }
        }
        throw new AssertionError(name + " is not in the list");
    }

    private void type(int id, String text) {
        ((EditText) activity.findViewById(id)).setText(text);
    }

    private void click(int id) {
        assertTrue(activity.findViewById(id).performClick());
        shadowOf(Looper.getMainLooper()).idle();
    }

    private void runChelsea(String runs) {
        choose(R.id.model, "XLSR x3, uint8");
        choose(R.id.image, "chelsea.png");
        type(R.id.runs, runs);
        type(R.id.threads, "2");
        click(R.id.run);
    }

    private JSONObject onlyResult() throws Exception {
        assertEquals(1, storage.results().size());
        return new JSONObject(Storage.readText(storage.results().get(0)));
    }

    private String warning() {
        return Screens.text(activity, R.id.result_warning);
    }

    @Test
    public void choosesAmongPackagedModelsAndImages() {
        assertEquals(MainActivity.CHOOSE, Screens.screen(activity));
        assertEquals("XLSR x3, float32 (packaged)", spinner(R.id.model).getItemAtPosition(0));
        assertEquals(3, spinner(R.id.model).getCount());
        assertEquals("XLSR x3, uint8 (packaged)", spinner(R.id.model).getSelectedItem());
        assertEquals("rocket_640x360.png (packaged)", spinner(R.id.image).getSelectedItem());
        assertEquals("originals are not offered", 4, spinner(R.id.image).getCount());
        Screens.draw(activity, "choose", false);
    }

    @Test
    public void runsAndShowsWhatRan() throws Exception {
        runChelsea("5");
        Screens.awaitScreen(activity, MainActivity.SHOW_RESULT);
        JSONObject file = onlyResult();
        assertEquals("host", file.getString("where"));
        JSONObject result = file.getJSONArray("results").getJSONObject(0);
        assertTrue(result.isNull("error"));
        assertEquals(5, result.getJSONArray("samples_ms").length());
        String sha256 = Files.readString(Path.of(System.getProperty("mobilesr.expected"), "xlsr_x3_uint8.sha256"));
        assertEquals(sha256, result.getString("sha256"));
        assertEquals("cpu", result.getString("effective_delegate"));
        String psnr = Files.readString(Path.of(System.getProperty("mobilesr.expected"), "xlsr_x3_uint8_chelsea.psnr"));
        assertEquals(Double.parseDouble(psnr), result.getDouble("psnr_vs_reference"), 1e-6);
        assertTrue(result.isNull("psnr_vs_cpu"));
        assertEquals("Measured on host: not a device's time.", warning());
        assertEquals("13 of 15", Screens.value(activity, "Operators delegated"));
        assertEquals("CPU (XNNPACK)", Screens.value(activity, "Ran on"));
        double median = result.getJSONObject("latency_ms").getDouble("p50");
        assertEquals(activity.getString(R.string.milliseconds, median), Screens.text(activity, R.id.result_median));
        assertEquals(Screens.text(activity, R.id.result_median), Screens.value(activity, "p50"));
        Screens.draw(activity, "result", true);
    }

    /** Python's SR image for the same bytes; equal is more than the 50 dB asked for. */
    @Test
    public void theShownPictureHasNoColourShift() throws Exception {
        runChelsea("1");
        Screens.awaitScreen(activity, MainActivity.SHOW_RESULT);
        assertPythonsPicture();
    }

    private static void assertPythonsPicture() throws IOException {
        byte[] expected = Files.readAllBytes(Path.of(System.getProperty("mobilesr.expected"), "xlsr_x3_uint8_chelsea.raw"));
        Bitmap shown = Benchmarks.INSTANCE.state().result.after;
        int[] pixels = new int[shown.getWidth() * shown.getHeight()];
        shown.getPixels(pixels, 0, shown.getWidth(), 0, 0, shown.getWidth(), shown.getHeight());
        assertArrayEquals(expected, RgbImage.fromArgb(shown.getWidth(), shown.getHeight(), pixels).rgb());
    }

    /** A file of a fixed size from the models folder: 150x100 in tiles of 64x48. */
    @Test
    public void tilesMakeTheSamePicture() throws IOException {
        ModelFile sized = new ModelFile(storage.read(Storage.MODELS, "asset:xlsr_x3_uint8.tflite")).withSize(48, 64);
        byte[] bytes = new byte[sized.size()];
        sized.direct().get(bytes);
        Files.write(storage.folder(Storage.MODELS).toPath().resolve("sized.tflite"), bytes);
        controller.recreate();
        activity = controller.get();
        Screens.await("the list is read", () -> spinner(R.id.model).getCount() == 4 && spinner(R.id.image).getCount() > 0);
        choose(R.id.model, "sized.tflite");
        choose(R.id.image, "chelsea.png");
        click(R.id.run);
        Screens.awaitScreen(activity, MainActivity.SHOW_RESULT);
        assertEquals("150 x 100", Screens.value(activity, "Image"));
        assertPythonsPicture();
    }

    @Test
    public void theSliderMovesTheBorder() {
        runChelsea("1");
        Screens.awaitScreen(activity, MainActivity.SHOW_RESULT);
        CompareView compare = activity.findViewById(R.id.compare);
        assertEquals(0.5f, compare.border(), 0);
        ((SeekBar) activity.findViewById(R.id.slider)).setProgress(250);
        assertEquals(0.25f, compare.border(), 1e-6);
        Screens.draw(activity, "slider", false);
    }

    @Test
    public void cancelStopsAndLeavesNoResult() throws Exception {
        runChelsea("150");
        ProgressBar bar = activity.findViewById(R.id.running_bar);
        Screens.await("it measures", () -> bar.getMax() == 150 && bar.getProgress() >= 40);
        assertEquals("Measuring", Screens.text(activity, R.id.running_stage));
        assertTrue((activity.getWindow().getAttributes().flags & WindowManager.LayoutParams.FLAG_KEEP_SCREEN_ON) != 0);
        Screens.draw(activity, "running", false);
        click(R.id.cancel);
        Screens.awaitScreen(activity, MainActivity.CHOOSE);
        assertEquals(List.of(), storage.results());
        assertEquals(0, activity.getWindow().getAttributes().flags & WindowManager.LayoutParams.FLAG_KEEP_SCREEN_ON);
        assertTrue(HostLog.marked().get(1), HostLog.marked().get(1).endsWith("reason=cancelled"));
    }

    @Test
    public void aRunOutlivesRotationAndBackground() {
        runChelsea("150");
        Screens.awaitScreen(activity, MainActivity.RUNNING);
        controller.recreate();
        activity = controller.get();
        assertEquals(MainActivity.RUNNING, Screens.screen(activity));
        assertTrue(Benchmarks.INSTANCE.isRunning());
        controller.pause().stop();
        Screens.await("it ended in the background", () -> !Benchmarks.INSTANCE.isRunning());
        controller.start().resume();
        Screens.awaitScreen(activity, MainActivity.SHOW_RESULT);
        assertTrue(warning(), warning().startsWith("The app was in the background meanwhile"));
        assertTrue("the pictures are there", Screens.visible(activity, R.id.result_pictures));
        controller.recreate();
        activity = controller.get();
        Screens.awaitScreen(activity, MainActivity.SHOW_RESULT);
    }

    @Test
    public void rotationIsNoBackground() {
        runChelsea("60");
        Screens.awaitScreen(activity, MainActivity.RUNNING);
        controller.recreate();
        activity = controller.get();
        Screens.awaitScreen(activity, MainActivity.SHOW_RESULT);
        assertEquals("Measured on host: not a device's time.", warning());
    }

    @Test
    public void rotationKeepsTheForm() {
        choose(R.id.model, "XLSR x3, uint8");
        choose(R.id.image, "coffee.png");
        spinner(R.id.delegate).setSelection(2);
        type(R.id.runs, "77");
        controller.recreate();
        activity = controller.get();
        Screens.await("the lists are read", () -> spinner(R.id.model).getCount() > 0 && spinner(R.id.image).getCount() > 0);
        assertEquals("XLSR x3, uint8 (packaged)", spinner(R.id.model).getSelectedItem());
        assertEquals("coffee.png (packaged)", spinner(R.id.image).getSelectedItem());
        assertEquals(2, spinner(R.id.delegate).getSelectedItemPosition());
        assertEquals("77", Screens.text(activity, R.id.runs));
    }

    /** Depth and signature are asked for where a file has them. */
    @Test
    public void anAdaDsrFileHasTwoMoreControls() throws Exception {
        Screens.await("the file is read", () -> !Screens.visible(activity, R.id.depth_card));
        Path file = storage.folder(Storage.MODELS).toPath().resolve("ada.tflite");
        Files.copy(Path.of(System.getProperty("mobilesr.models"), "ada_sparse_uint8.tflite"), file);
        controller.recreate();
        activity = controller.get();
        Screens.await("the list is read", () -> spinner(R.id.model).getCount() == 4 && spinner(R.id.image).getCount() > 0);
        choose(R.id.model, "ada.tflite");
        Screens.await("they appear", () -> Screens.visible(activity, R.id.depth_card));
        assertTrue(Screens.visible(activity, R.id.signature_card));
        assertEquals("dense", spinner(R.id.signature).getSelectedItem());
        Screens.draw(activity, "choose_depth", true);
        type(R.id.depth, "1.5");
        choose(R.id.signature, "sparse");
        choose(R.id.image, "chelsea.png");
        type(R.id.runs, "1");
        click(R.id.run);
        Screens.awaitScreen(activity, MainActivity.SHOW_RESULT);
        assertEquals("sparse", onlyResult().getJSONArray("results").getJSONObject(0).getString("signature"));
        click(R.id.result_back);
        choose(R.id.model, "XLSR x3, uint8");
        Screens.await("they are gone", () -> !Screens.visible(activity, R.id.depth_card));
        assertFalse(Screens.visible(activity, R.id.signature_card));
    }

    @Test
    public void aWrongFormIsSaidInOneLine() {
        type(R.id.threads, "0");
        click(R.id.run);
        assertEquals("threads 0 is not within 1..16", Screens.text(activity, R.id.choose_error));
        type(R.id.threads, "");
        click(R.id.run);
        assertEquals("Threads must be a number", Screens.text(activity, R.id.choose_error));
        assertEquals(MainActivity.CHOOSE, Screens.screen(activity));
        assertFalse(Benchmarks.INSTANCE.isRunning());
    }

    @Test
    public void aDamagedModelIsAnError() throws Exception {
        byte[] good = storage.read(Storage.MODELS, "asset:xlsr_x3_uint8.tflite");
        Uri uri = Uri.parse("content://files/half.tflite");
        shadowOf(activity.getContentResolver()).registerInputStream(uri, new ByteArrayInputStream(Arrays.copyOf(good, 9000)));
        click(R.id.open_model);
        ShadowActivity.IntentForResult asked = shadowOf(activity).getNextStartedActivityForResult();
        assertEquals(Intent.ACTION_OPEN_DOCUMENT, asked.intent.getAction());
        shadowOf(activity).receiveResult(asked.intent, MainActivity.RESULT_OK, new Intent().setData(uri));
        Screens.await("the file is chosen", () -> "half.tflite".equals(spinner(R.id.model).getSelectedItem()));
        click(R.id.run);
        Screens.awaitScreen(activity, MainActivity.SHOW_RESULT);
        assertTrue(warning(), warning().startsWith("It failed: half.tflite: a damaged .tflite file"));
        assertFalse(Screens.visible(activity, R.id.result_headline));
        assertFalse(Screens.visible(activity, R.id.result_pictures));
        Screens.draw(activity, "error", false);
    }

    @Test
    public void aDelegateThatRefusesIsAnErrorAndNoFallback() throws Exception {
        choose(R.id.image, "chelsea.png");
        spinner(R.id.delegate).setSelection(2);
        click(R.id.run);
        Screens.awaitScreen(activity, MainActivity.SHOW_RESULT);
        assertTrue(warning(), warning().startsWith("It failed: gpu refuses it: "));
        JSONObject result = onlyResult().getJSONArray("results").getJSONObject(0);
        assertTrue(result.isNull("latency_ms"));
        assertTrue(result.isNull("effective_delegate"));
        assertEquals("gpu", result.getString("requested_delegate"));
    }

    @Test
    public void anImageThatIsTooLargeIsNotDecoded() throws IOException {
        Files.copy(Path.of(System.getProperty("mobilesr.expected"), "huge.png"), storage.folder(Storage.IMAGES).toPath().resolve("huge.png"));
        controller.recreate();
        activity = controller.get();
        Screens.await("the list is read", () -> spinner(R.id.image).getCount() == 5 && spinner(R.id.model).getCount() > 0);
        choose(R.id.image, "huge.png");
        click(R.id.run);
        Screens.awaitScreen(activity, MainActivity.SHOW_RESULT);
        assertTrue(warning(), warning().startsWith("It failed: huge.png has 13200x13200 pixels; at most 64 million are read"));
    }

    @Test
    public void theHistoryShowsEarlierResults() throws Exception {
        click(R.id.open_history);
        Screens.await("there is none", () -> Screens.visible(activity, R.id.history_empty));
        activity.onBackPressed();
        runChelsea("2");
        Screens.awaitScreen(activity, MainActivity.SHOW_RESULT);
        click(R.id.result_back);
        assertNull(Benchmarks.INSTANCE.state());
        Files.writeString(storage.folder(Storage.RESULTS).toPath().resolve("foreign.json"), "{\"half\": ");
        click(R.id.open_history);
        ListView list = activity.findViewById(R.id.history_list);
        Screens.await("the history is read", () -> list.getAdapter() != null && list.getAdapter().getCount() == 1);
        Screens.draw(activity, "history", false);
        list.performItemClick(null, 0, 0);
        Screens.awaitScreen(activity, MainActivity.SHOW_RESULT);
        assertFalse(Screens.visible(activity, R.id.result_pictures));
        assertNotNull(Screens.value(activity, "p99"));
    }

    /** One file on all delegates: the CPU three times, then those that are not on this machine, which fail alone. */
    @Test
    public void aMatrixOfRunsEndsInAChart() throws Exception {
        choose(R.id.image, "chelsea.png");
        type(R.id.runs, "2");
        click(R.id.run_matrix);
        ShadowAlertDialog.getLatestAlertDialog().getButton(DialogInterface.BUTTON_POSITIVE).performClick();
        Screens.await("the second run", () -> Screens.text(activity, R.id.running_stage).startsWith("Run 2 of 6: "));
        Screens.awaitScreen(activity, MainActivity.COMPARE);
        List<String> chart = chart();
        assertEquals("a bar for each that ran", 3, bars());
        assertTrue(chart.get(0), chart.get(0).matches("XLSR x3, uint8 · cpu, threads: [124]"));
        assertTrue(chart.get(1), chart.get(1).matches("[\\d.]+ ms, the fastest · [\\d.]+ dB"));
        assertTrue(chart.get(5), chart.get(5).matches("[\\d.]+ ms, [\\d.]+ times the fastest · [\\d.]+ dB"));
        assertTrue(chart.get(7), chart.get(7).startsWith("It failed: "));
        assertEquals("Measured on host: not a device's time.", Screens.text(activity, R.id.compare_warning));
        Screens.draw(activity, "compare", false);
        controller.recreate();
        activity = controller.get();
        Screens.awaitScreen(activity, MainActivity.COMPARE);
        assertEquals(chart, chart());
        assertShared();
        activity.onBackPressed();
        Screens.awaitScreen(activity, MainActivity.HISTORY);
        ListView list = activity.findViewById(R.id.history_list);
        Screens.await("the history is read", () -> list.getAdapter() != null && list.getAdapter().getCount() == 6);
        String shown = list.getAdapter().getItem(5).toString();
        assertTrue(shown, shown.contains(" ms · cpu, threads: 1 · XLSR x3, uint8\n"));
        Screens.draw(activity, "matrix", false);
        assertHistoryAsCsv();
        click(R.id.history_compare);
        AlertDialog dialog = (AlertDialog) ShadowAlertDialog.getLatestAlertDialog();
        assertEquals("the newest matrix is chosen", 6, dialog.getListView().getCheckedItemCount());
        shadowOf(dialog).clickOnItem(0);
        dialog.getButton(DialogInterface.BUTTON_POSITIVE).performClick();
        Screens.awaitScreen(activity, MainActivity.COMPARE);
        assertEquals("one less, which had failed", 5, chart().stream().filter(line -> line.startsWith("XLSR")).count());
    }

    /** The chart's lines of text. */
    private List<String> chart() {
        List<String> lines = new ArrayList<>();
        ViewGroup chart = activity.findViewById(R.id.compare_chart);
        for (int i = 0; i < chart.getChildCount(); i++) {
            if (chart.getChildAt(i) instanceof TextView text) {
                lines.add(text.getText().toString());
            }
        }
        return lines;
    }

    private int bars() {
        ViewGroup chart = activity.findViewById(R.id.compare_chart);
        int count = 0;
        for (int i = 0; i < chart.getChildCount(); i++) {
            count += chart.getChildAt(i) instanceof BarView ? 1 : 0;
        }
        return count;
    }

    private String shared(int button) {
        click(button);
        Intent[] sent = new Intent[1];
        Screens.await("it is shared", () -> (sent[0] = shadowOf(activity).getNextStartedActivity()) != null);
        return sent[0].getParcelableExtra(Intent.EXTRA_INTENT, Intent.class).getStringExtra(Intent.EXTRA_TEXT);
    }

    private void assertShared() throws Exception {
        assertEquals(7, shared(R.id.compare_csv).split("\n").length);
        JSONObject json = new JSONObject(shared(R.id.compare_json));
        assertEquals("mobile-sr benchmark 1", json.getString("format"));
        assertEquals(6, json.getJSONArray("reports").length());
        assertEquals("host", json.getJSONArray("reports").getJSONObject(0).getString("where"));
    }

    private void assertHistoryAsCsv() {
        List<String> lines = List.of(shared(R.id.history_csv).split("\n"));
        assertEquals(7, lines.size());
        assertTrue(lines.get(0), lines.get(0).startsWith("where,date,device,") && lines.get(0).endsWith(",min_ms,p50_ms,p90_ms"));
        for (String run : List.of("cpu,cpu,1", "cpu,cpu,2", "cpu,cpu,4")) {
            assertEquals(run, 1, lines.stream().filter(line -> line.contains("," + run + ",")).count());
        }
        assertEquals("no time without a delegate", 3, lines.stream().filter(line -> line.endsWith(",,,")).count());
    }

    @Test
    public void cancelEndsTheWholeMatrix() throws Exception {
        choose(R.id.image, "chelsea.png");
        type(R.id.runs, "400");
        click(R.id.run_matrix);
        ShadowAlertDialog.getLatestAlertDialog().getButton(DialogInterface.BUTTON_POSITIVE).performClick();
        Screens.await("it measures", () -> Screens.text(activity, R.id.running_stage).equals("Run 1 of 6: Measuring"));
        click(R.id.cancel);
        Screens.awaitScreen(activity, MainActivity.CHOOSE);
        assertEquals(List.of(), storage.results());
        assertFalse(Benchmarks.INSTANCE.isRunning());
    }

    /** A file for another chip is not offered, and opening one says why. */
    @Test
    public void aFileForAnotherChipIsNotOffered() throws Exception {
        byte[] compiled = Files.readAllBytes(Path.of(System.getProperty("mobilesr.models"), "compiled.tflite"));
        Uri uri = Uri.parse("content://files/net_SM8650.tflite");
        shadowOf(activity.getContentResolver()).registerInputStream(uri, new ByteArrayInputStream(compiled));
        click(R.id.open_model);
        ShadowActivity.IntentForResult asked = shadowOf(activity).getNextStartedActivityForResult();
        shadowOf(activity).receiveResult(asked.intent, MainActivity.RESULT_OK, new Intent().setData(uri));
        Screens.await("it is said", () -> Screens.visible(activity, R.id.choose_error));
        String message = Screens.text(activity, R.id.choose_error);
        assertTrue(message, message.startsWith("net_SM8650.tflite is compiled for the NPU of another chip"));
        assertEquals(3, spinner(R.id.model).getCount());
        assertEquals(4, spinner(R.id.delegate).getCount());
    }

    /** After the system ended the process: nothing of the benchmark is left but its file. */
    @Test
    public void aResultComesBackFromItsFile() {
        runChelsea("2");
        Screens.awaitScreen(activity, MainActivity.SHOW_RESULT);
        String median = Screens.text(activity, R.id.result_median);
        Benchmarks.INSTANCE.dismiss();
        controller.recreate();
        activity = controller.get();
        Screens.awaitScreen(activity, MainActivity.SHOW_RESULT);
        assertEquals(median, Screens.text(activity, R.id.result_median));
        assertFalse(Screens.visible(activity, R.id.result_pictures));
    }

    @Test
    public void sharesAndSavesTheJson() throws Exception {
        runChelsea("1");
        Screens.awaitScreen(activity, MainActivity.SHOW_RESULT);
        click(R.id.share);
        Intent chooser = shadowOf(activity).getNextStartedActivity();
        Intent shared = chooser.getParcelableExtra(Intent.EXTRA_INTENT, Intent.class);
        assertEquals(onlyResult().toString(), new JSONObject(shared.getStringExtra(Intent.EXTRA_TEXT)).toString());
        Uri uri = Uri.parse("content://files/saved.json");
        java.io.ByteArrayOutputStream saved = new java.io.ByteArrayOutputStream();
        shadowOf(activity.getContentResolver()).registerOutputStream(uri, saved);
        click(R.id.export);
        ShadowActivity.IntentForResult asked = shadowOf(activity).getNextStartedActivityForResult();
        assertEquals(Intent.ACTION_CREATE_DOCUMENT, asked.intent.getAction());
        shadowOf(activity).receiveResult(asked.intent, MainActivity.RESULT_OK, new Intent().setData(uri));
        Screens.await("it is written", () -> saved.size() > 0);
        assertEquals(onlyResult().toString(), new JSONObject(saved.toString("UTF-8")).toString());
    }

    @Test
    @Config(qualifiers = "w411dp-h891dp-port-night-xhdpi")
    public void darkScreens() {
        Screens.draw(activity, "choose_dark", false);
        runChelsea("3");
        Screens.awaitScreen(activity, MainActivity.SHOW_RESULT);
        Screens.draw(activity, "result_dark", false);
    }

    @Test
    @Config(qualifiers = "w891dp-h411dp-land-notnight-xhdpi")
    public void landscapeScreens() {
        runChelsea("3");
        Screens.awaitScreen(activity, MainActivity.SHOW_RESULT);
        Screens.draw(activity, "result_landscape", true);
        View compare = activity.findViewById(R.id.compare);
        View slider = activity.findViewById(R.id.slider);
        assertEquals(compare.getWidth(), slider.getWidth());
        assertEquals(compare.getLeft(), slider.getLeft());
        assertTrue(compare.getHeight() <= activity.getResources().getDisplayMetrics().heightPixels);
        assertEquals(1.5, (double) compare.getWidth() / compare.getHeight(), 0.01);
    }
}
