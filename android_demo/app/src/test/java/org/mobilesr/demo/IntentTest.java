package org.mobilesr.demo;

import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertFalse;
import static org.junit.Assert.assertTrue;

import android.content.Intent;
import android.os.Parcel;
import android.os.Parcelable;
import java.io.File;
import java.io.IOException;
import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.ArrayList;
import java.util.Iterator;
import java.util.List;
import org.json.JSONObject;
import org.junit.After;
import org.junit.Before;
import org.junit.Test;
import org.junit.runner.RunWith;
import org.robolectric.Robolectric;
import org.robolectric.RobolectricTestRunner;
import org.robolectric.RuntimeEnvironment;
import org.robolectric.android.controller.ActivityController;

/** Benchmarks that a laptop starts: what it gets is the log and the file. */
@RunWith(RobolectricTestRunner.class)
public class IntentTest {
    private ActivityController<MainActivity> controller;
    private File results;

    @Before
    public void setUp() throws IOException {
        HostLog.connect();
        results = new Storage(RuntimeEnvironment.getApplication()).folder(Storage.RESULTS);
    }

    @After
    public void tearDown() {
        Benchmarks.INSTANCE.cancel();
        Screens.await("the benchmark has ended", () -> !Benchmarks.INSTANCE.isRunning());
        Benchmarks.INSTANCE.dismiss();
        controller.close();
    }

    private static Intent guarded() {
        String packageName = RuntimeEnvironment.getApplication().getPackageName();
        return new Intent(BenchmarkIntent.ACTION).setClassName(packageName, BenchmarkIntent.ALIAS);
    }

    private static Intent intent(String output) {
        return guarded()
                .putExtra("model", "asset:xlsr_x3_float32.tflite")
                .putExtra("image", "asset:chelsea.png")
                .putExtra("threads", 2)
                .putExtra("warmup", 1)
                .putExtra("runs", 3)
                .putExtra("output", output);
    }

    private void send(Intent intent) {
        controller = Robolectric.buildActivity(MainActivity.class, intent).setup();
    }

    private static String awaitEnd() {
        Screens.await("it ended", () -> {
            List<String> lines = HostLog.marked();
            return !lines.isEmpty() && !lines.get(lines.size() - 1).startsWith("BENCHMARK STARTED");
        });
        List<String> lines = HostLog.marked();
        return lines.get(lines.size() - 1);
    }

    private JSONObject result(String output) throws Exception {
        return new JSONObject(Storage.readText(new File(results, output + ".json")));
    }

    private static List<String> keys(JSONObject object) {
        List<String> keys = new ArrayList<>();
        for (Iterator<String> iterator = object.keys(); iterator.hasNext(); ) {
            keys.add(iterator.next());
        }
        return keys;
    }

    @Test
    public void measuresAndWritesTheContractsFile() throws Exception {
        send(intent("a.b_c-1").putExtra("delegate", "cpu"));
        assertEquals("BENCHMARK DONE output=a.b_c-1", awaitEnd());
        assertEquals("BENCHMARK STARTED output=a.b_c-1", HostLog.marked().get(0));
        assertEquals(List.of("a.b_c-1.json"), List.of(results.list()));
        JSONObject file = result("a.b_c-1");
        assertEquals(List.of("format", "where", "environment", "results"), keys(file));
        assertEquals("mobile-sr benchmark 1", file.getString("format"));
        assertEquals("host", file.getString("where"));
        JSONObject environment = file.getJSONObject("environment");
        assertEquals(
                List.of("device", "manufacturer", "android", "sdk", "abi", "cores", "app_version", "litert", "width", "height",
                        "threads", "runs", "warmup", "date", "thermal", "background"),
                keys(environment));
        assertEquals("2.16.1", environment.getString("litert"));
        assertEquals("1.2", environment.getString("app_version"));
        assertEquals(150, environment.getInt("width"));
        assertEquals(100, environment.getInt("height"));
        assertEquals("none", environment.getString("thermal"));
        JSONObject measured = file.getJSONArray("results").getJSONObject(0);
        assertEquals(3, measured.getJSONArray("samples_ms").length());
        assertEquals("asset:xlsr_x3_float32.tflite", measured.getString("model"));
        assertEquals(14, measured.getInt("delegated_nodes"));
        assertEquals(14, measured.getInt("nodes"));
        assertTrue(measured.isNull("signature"));
        assertTrue(measured.getDouble("init_ms") > 0 && measured.getDouble("first_ms") > 0);
    }

    /** One operator with 7 channels in and 5 out, for a latency table. */
    @Test
    public void timesASingleOperator() throws Exception {
        Path models = new Storage(RuntimeEnvironment.getApplication()).folder(Storage.MODELS).toPath();
        Files.copy(Path.of(System.getProperty("mobilesr.models"), "operator.tflite"), models.resolve("operator.tflite"));
        send(intent("op").putExtra("model", "operator.tflite").putExtra("image", "generated:noise"));
        assertEquals("BENCHMARK DONE output=op", awaitEnd());
        JSONObject file = result("op");
        JSONObject measured = file.getJSONArray("results").getJSONObject(0);
        assertEquals(3, measured.getJSONArray("samples_ms").length());
        assertEquals("cpu", measured.getString("effective_delegate"));
        assertTrue(measured.isNull("psnr_vs_cpu") && measured.isNull("psnr_vs_reference"));
        assertTrue(file.getJSONObject("environment").isNull("width"));
        controller.close();
        send(intent("dynamic").putExtra("image", "generated:noise"));
        Screens.await("it ended", () -> HostLog.marked().size() == 4);
        String reason = HostLog.marked().get(3);
        assertTrue(reason, reason.endsWith("has no fixed size, which random values need"));
    }

    /** What a computer brings by run-as lies in the internal folder, and it fetches the result from there. */
    @Test
    public void theInternalFolderServesWhereTheExternalOneIsOutOfReach() throws Exception {
        Path internal = RuntimeEnvironment.getApplication().getFilesDir().toPath();
        for (String folder : List.of(Storage.MODELS, Storage.IMAGES, Storage.RESULTS)) {
            Files.createDirectories(internal.resolve(folder));
        }
        try (InputStream model = RuntimeEnvironment.getApplication().getAssets().open("models/xlsr_x3_float32.tflite");
                InputStream image = RuntimeEnvironment.getApplication().getAssets().open("samples/chelsea.png")) {
            Files.copy(model, internal.resolve("models/pushed.tflite"));
            Files.copy(image, internal.resolve("images/pushed.png"));
        }
        send(intent("inside").putExtra("model", "pushed.tflite").putExtra("image", "pushed.png"));
        assertEquals("BENCHMARK DONE output=inside", awaitEnd());
        Path file = internal.resolve("results/inside.json");
        assertEquals(Storage.readText(new File(results, "inside.json")), Storage.readText(file.toFile()));
        Files.copy(file, Path.of(System.getProperty("mobilesr.screens"), "result.json"), StandardCopyOption.REPLACE_EXISTING);
    }

    /** Of an AdaDSR file the dense graph runs, which every delegate takes, unless the intent says otherwise. */
    @Test
    public void aSignatureIsChosen() throws Exception {
        Path models = RuntimeEnvironment.getApplication().getFilesDir().toPath().resolve(Storage.MODELS);
        Files.createDirectories(models);
        Files.copy(Path.of(System.getProperty("mobilesr.models"), "ada_sparse_uint8.tflite"), models.resolve("ada.tflite"));
        int count = 0;
        for (String[] want : new String[][] {{null, "dense", "cpu"}, {"dense", "dense", "cpu"}, {"sparse", "sparse", "none"}}) {
            org.robolectric.shadows.ShadowLog.reset();
            String output = "ada" + count++;
            Intent intent = intent(output).putExtra("model", "ada.tflite").putExtra("depth", 1.5f);
            send(want[0] == null ? intent : intent.putExtra("signature", want[0]));
            assertEquals("BENCHMARK DONE output=" + output, awaitEnd());
            JSONObject measured = result(output).getJSONArray("results").getJSONObject(0);
            assertEquals(want[1], measured.getString("signature"));
            assertEquals(want[2], measured.getString("effective_delegate"));
            assertEquals("of the whole file", 64, measured.getString("sha256").length());
            assertEquals(Files.size(models.resolve("ada.tflite")), measured.getLong("size_bytes"));
            Screens.awaitScreen(controller.get(), MainActivity.SHOW_RESULT);
            assertEquals(want[1], Screens.value(controller.get(), "Signature"));
            Benchmarks.INSTANCE.dismiss();
        }
        String[][] refused = {
            {"nnapi", "sparse", "nnapi takes no control flow, which signature sparse has"},
            {"cpu", "fast", "no signature 'fast'; the file has dense, sparse"},
        };
        for (String[] want : refused) {
            org.robolectric.shadows.ShadowLog.reset();
            send(intent("no-" + want[1]).putExtra("model", "ada.tflite").putExtra("depth", 1.5f).putExtra("delegate", want[0]).putExtra("signature", want[1]));
            assertEquals("BENCHMARK FAILED output=no-" + want[1] + " reason=" + want[2], awaitEnd());
            Benchmarks.INSTANCE.dismiss();
        }
    }

    /** NNAPI is not on this machine; that must never look like a result. */
    @Test
    public void aDelegateThatTookNothingFails() throws Exception {
        send(intent("n").putExtra("delegate", "nnapi"));
        String end = awaitEnd();
        assertTrue(end, end.startsWith("BENCHMARK FAILED output=n reason=nnapi "));
        JSONObject measured = result("n").getJSONArray("results").getJSONObject(0);
        assertTrue(measured.isNull("latency_ms"));
        assertEquals(0, measured.getJSONArray("samples_ms").length());
        assertFalse("nnapi".equals(measured.optString("effective_delegate")));
        assertTrue(end.endsWith(measured.getString("error")));
    }

    @Test
    public void wrongExtrasFailInOneLineAndWriteNothing() {
        Object[][] wrong = {
            {intent("../x"), "?"}, {intent(""), "?"}, {intent("a").putExtra("model", "../../secret"), "a"},
            {intent("a").putExtra("delegate", "dsp"), "a"}, {intent("a").putExtra("runs", -1), "a"},
            {intent("a").putExtra("threads", "many"), "a"}, {intent("a").putExtra("image", "/sdcard/x.png"), "a"},
            {intent("a").putExtra("signature", "a b"), "a"},
            {guarded(), "?"},
        };
        for (Object[] pair : wrong) {
            org.robolectric.shadows.ShadowLog.reset();
            send((Intent) pair[0]);
            assertEquals(1, HostLog.marked().size());
            assertTrue(HostLog.marked().get(0), HostLog.marked().get(0).startsWith("BENCHMARK FAILED output=" + pair[1] + " reason="));
            assertEquals(0, results.list().length);
        }
    }

    /** Other apps can start MainActivity, which the launcher needs, but not by the name that the permission guards. */
    @Test
    public void anotherAppStartsNothing() {
        for (Intent unguarded : List.of(
                intent("other").setClassName("org.mobilesr.demo", MainActivity.class.getName()), intent("other").setComponent(null))) {
            send(unguarded);
            assertEquals(List.of(), HostLog.marked());
            assertFalse(Benchmarks.INSTANCE.isRunning());
        }
    }

    @Test
    public void aResultIsNotOverwritten() throws IOException {
        Path file = results.toPath().resolve("mine.json");
        Files.writeString(file, "{}");
        send(intent("mine"));
        assertEquals(
                List.of("BENCHMARK FAILED output=mine reason=a result 'mine' exists already; choose another output"),
                HostLog.marked());
        assertEquals("{}", Files.readString(file));
    }

    /** An object without a CREATOR: reading it throws BadParcelableException. */
    public static final class Hostile implements Parcelable {
        @Override
        public int describeContents() {
            return 0;
        }

        @Override
        public void writeToParcel(Parcel parcel, int flags) {}
    }

    @Test
    public void extrasThatCannotBeReadFailInOneLine() {
        Parcel parcel = Parcel.obtain();
        intent("a").putExtra("model", new Hostile()).writeToParcel(parcel, 0);
        parcel.setDataPosition(0);
        send(Intent.CREATOR.createFromParcel(parcel));
        assertEquals(1, HostLog.marked().size());
        String line = HostLog.marked().get(0);
        assertTrue(line, line.startsWith("BENCHMARK FAILED output=? reason=the extras cannot be read: "));
    }

    @Test
    public void aFileThatIsNotThereFails() throws Exception {
        send(intent("missing").putExtra("model", "nothing.tflite"));
        assertEquals("BENCHMARK FAILED output=missing reason=nothing.tflite is not in the app's models", awaitEnd());
        assertEquals("nothing.tflite is not in the app's models", result("missing").getJSONArray("results").getJSONObject(0).getString("error"));
    }

    /** A folder where the temporary file should be stands in for a storage that takes nothing. */
    @Test
    public void aResultThatCannotBeWrittenFails() throws IOException {
        File inTheWay = new File(results, "full.json.tmp/file");
        assertTrue(inTheWay.mkdirs());
        send(intent("full"));
        String end = awaitEnd();
        assertTrue(end, end.startsWith("BENCHMARK FAILED output=full reason=the result cannot be written: "));
        assertFalse(new File(results, "full.json").exists());
        Screens.awaitScreen(controller.get(), MainActivity.SHOW_RESULT);
        assertTrue(Screens.text(controller.get(), R.id.result_warning).startsWith("The result could not be saved: "));
        assertTrue("what was measured is shown", Screens.visible(controller.get(), R.id.result_headline));
    }

    @Test
    public void oneAtATime() {
        send(intent("first").putExtra("runs", 5000));
        controller.newIntent(intent("second"));
        assertTrue(HostLog.marked().contains("BENCHMARK FAILED output=second reason=another benchmark is running"));
        assertTrue(Benchmarks.INSTANCE.isRunning());
    }

    @Test
    public void anIntentFromTheListOfRecentAppsStartsNothing() {
        send(intent("again").addFlags(Intent.FLAG_ACTIVITY_LAUNCHED_FROM_HISTORY));
        assertEquals(List.of(), HostLog.marked());
    }
}
