package org.mobilesr.demo;

import android.app.Activity;
import android.content.ActivityNotFoundException;
import android.content.Intent;
import android.net.Uri;
import android.os.Bundle;
import android.view.View;
import android.view.WindowManager;
import android.widget.Button;
import android.widget.ProgressBar;
import android.widget.TextView;
import android.widget.Toast;
import android.widget.ViewFlipper;
import java.io.IOException;
import java.io.OutputStream;
import java.nio.charset.StandardCharsets;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.json.JSONException;
import org.mobilesr.core.ModelTitle;
import org.mobilesr.core.RunConfig;

/** The app's only window: choose, running, result, history, photo. A benchmark is also started by the intent ACTION_BENCHMARK. */
public final class MainActivity extends Activity {
    static final String ACTION_BENCHMARK = "org.mobilesr.demo.BENCHMARK";
    /** The manifest's name of this activity for benchmarks, which only callers with the permission DUMP may start. */
    static final String BENCHMARK_ALIAS = "org.mobilesr.demo.Benchmark";
    private static final String[] EXTRAS = {"model", "image", "delegate", "threads", "warmup", "runs", "depth", "signature", "output"};
    private static final String SCREEN = "screen";
    private static final String RESULT = "result";
    private static final int OPEN_MODEL = 1;
    private static final int EXPORT = 2;
    static final int CHOOSE = 0;
    static final int RUNNING = 1;
    static final int SHOW_RESULT = 2;
    static final int HISTORY = 3;
    static final int PHOTO = 4;

    private interface FileWork<T> {
        T get() throws IOException;
    }

    private interface Use<T> {
        void accept(T value);
    }

    private final Benchmarks benchmarks = Benchmarks.INSTANCE;
    private ViewFlipper screens;
    private ChooseScreen choose;
    private ResultScreen result;
    private HistoryScreen history;
    private PhotoScreen photo;
    private final Photos photos = Photos.INSTANCE;

    @Override
    protected void onCreate(Bundle saved) {
        super.onCreate(saved);
        setContentView(R.layout.main);
        screens = findViewById(R.id.screens);
        choose = new ChooseScreen(this, saved);
        result = new ResultScreen(this);
        history = new HistoryScreen(this);
        onClick(R.id.run, this::run);
        onClick(R.id.open_model, this::openModel);
        onClick(R.id.open_history, this::openHistory);
        photo = new PhotoScreen(this, this::upscale);
        onClick(R.id.run_matrix, this::runMatrix);
        onClick(R.id.history_csv, this::shareCsv);
        onClick(R.id.pick_photo, photo::pick);
        onClick(R.id.take_photo, photo::capture);
        onClick(R.id.photo_share, photo::share);
        onClick(R.id.photo_save, photo::askWhereToSave);
        onClick(R.id.photo_zoom, photo::zoom);
        onClick(R.id.photo_back, this::toChoose);
        onClick(R.id.cancel, this::cancel);
        onClick(R.id.result_back, this::toChoose);
        onClick(R.id.history_back, this::toChoose);
        onClick(R.id.share, this::share);
        onClick(R.id.export, this::export);
        loadLists(null);
        if (saved == null) {
            startFrom(getIntent());
        } else {
            restore(saved);
        }
    }

    private void onClick(int id, Runnable action) {
        findViewById(id).setOnClickListener(view -> action.run());
    }

    private void restore(Bundle saved) {
        int screen = saved.getInt(SCREEN);
        String output = saved.getString(RESULT);
        if (screen == SHOW_RESULT && output != null && benchmarks.state() == null) {
            Storage storage = new Storage(this);
            load(
                    () -> Storage.readText(storage.result(output)),
                    json -> show(new Benchmarks.Result(output, json, null, null, null)));
        } else if (screen == HISTORY) {
            openHistory();
        }
    }

    @Override
    protected void onSaveInstanceState(Bundle state) {
        super.onSaveInstanceState(state);
        choose.save(state);
        state.putInt(SCREEN, screens.getDisplayedChild());
        if (result.shown() != null) {
            state.putString(RESULT, result.shown().output);
        }
    }

    @Override
    protected void onStart() {
        super.onStart();
        benchmarks.listen(this::showState);
        photos.listen(this::showState);
        showState();
    }

    @Override
    protected void onStop() {
        benchmarks.listen(null);
        photos.listen(null);
        if (!isChangingConfigurations()) {
            benchmarks.hidden();
        }
        super.onStop();
    }

    @Override
    protected void onNewIntent(Intent intent) {
        super.onNewIntent(intent);
        startFrom(intent);
    }

    /** Start what an intent asks for; whoever sent it reads the log, so that what is wrong stands there, too. */
    private void startFrom(Intent intent) {
        boolean again = (intent.getFlags() & Intent.FLAG_ACTIVITY_LAUNCHED_FROM_HISTORY) != 0;
        if (Intent.ACTION_SEND.equals(intent.getAction()) && !again) {
            photo.receive(intent);
            return;
        }
        if (!ACTION_BENCHMARK.equals(intent.getAction()) || again || !isGuarded(intent)) {
            return;
        }
        String output = "?";
        try {
            Map<String, Object> extras = extras(intent);
            Object name = extras.get("output");
            RunConfig.checkOutput(name == null ? null : name.toString());
            output = name.toString();
            RunConfig config = RunConfig.parse(extras);
            if (new Storage(this).hasResult(output)) {
                throw new IllegalArgumentException("a result '" + output + "' exists already; choose another output");
            }
            start(config);
        } catch (IllegalArgumentException | IOException error) {
            Benchmarks.logFailure(output, error.getMessage());
            choose.showError(error.getMessage());
        }
    }

    private static boolean isGuarded(Intent intent) {
        return intent.getComponent() != null && BENCHMARK_ALIAS.equals(intent.getComponent().getClassName());
    }

    /**
     * The extras that a benchmark has.
     *
     * @throws IllegalArgumentException when one of them cannot be read, such as an object of a class that this app lacks.
     */
    private static Map<String, Object> extras(Intent intent) {
        try {
            return read(intent);
        } catch (RuntimeException error) { // BadParcelableException, and what the code of a hostile object throws
            throw new IllegalArgumentException("the extras cannot be read: " + RunConfig.oneLine(error.getMessage()), error);
        }
    }

    @SuppressWarnings("deprecation") // Only Bundle.get takes numbers of any type, as the callers send them.
    private static Map<String, Object> read(Intent intent) {
        Map<String, Object> extras = new HashMap<>();
        Bundle bundle = intent.getExtras();
        for (String key : EXTRAS) {
            Object value = bundle == null ? null : bundle.get(key);
            if (value != null) {
                extras.put(key, value);
            }
        }
        return extras;
    }

    private void run() {
        try {
            start(choose.config());
        } catch (IllegalArgumentException error) {
            choose.showError(error.getMessage());
        }
    }

    private void runMatrix() {
        try {
            choose.askForMatrix(configs -> {
                try {
                    start(configs);
                } catch (IllegalArgumentException error) {
                    choose.showError(error.getMessage());
                }
            });
        } catch (IllegalArgumentException error) {
            choose.showError(error.getMessage());
        }
    }

    private void start(RunConfig config) {
        start(List.of(config));
    }

    private void start(List<RunConfig> configs) {
        choose.showError(null);
        if (photos.isRunning()) {
            throw new IllegalArgumentException(getString(R.string.busy_photo));
        }
        if (!benchmarks.start(this, configs)) {
            throw new IllegalArgumentException("another benchmark is running");
        }
        photos.dismiss();
        showState();
    }

    /** With the model, delegate, threads, depth and signature of the form. */
    private void upscale(Uri uri) {
        choose.showError(null);
        try {
            if (benchmarks.isRunning() || !photos.start(this, choose.config(), uri)) {
                tell(getString(photos.isRunning() ? R.string.busy_photo : R.string.busy_benchmark));
            }
            benchmarks.dismiss();
            showState();
        } catch (IllegalArgumentException error) {
            choose.showError(error.getMessage());
        }
    }

    private void cancel() {
        benchmarks.cancel();
        photos.cancel();
    }

    /** Bring the screen to what runs, or has ended. */
    private void showState() {
        Benchmarks.State state = benchmarks.state();
        Photos.State upscaling = photos.state();
        if (upscaling != null) {
            showPhoto(upscaling);
        } else if (state == null) {
            if (screens.getDisplayedChild() == RUNNING) {
                toScreen(CHOOSE);
            }
        } else if (state.result == null) {
            showProgress(state);
        } else if (state.runs > 1) { // all of them are in the history
            benchmarks.dismiss();
            openHistory();
        } else if (result.shown() != state.result) {
            show(state.result);
        }
    }

    private void showProgress(Benchmarks.State state) {
        String stage = getResources().getStringArray(R.array.stages)[state.stage.ordinal()];
        stage = state.runs > 1 ? getString(R.string.run_of, state.run, state.runs, stage) : stage;
        showRunning(state.config, stage, state.done, state.total, R.string.progress, benchmarks.isCancelling());
    }

    private void showRunning(RunConfig config, String stage, int done, int total, int progress, boolean cancelling) {
        toScreen(RUNNING);
        boolean ofPhoto = photos.isRunning();
        String image = ofPhoto ? getString(R.string.title_photo) : config.image();
        text(R.id.running_what).setText(getString(R.string.history_row, ModelTitle.of(config.model()), config.delegate().id, image));
        text(R.id.running_stage).setText(stage);
        ProgressBar bar = findViewById(R.id.running_bar);
        bar.setIndeterminate(total <= 1);
        bar.setMax(total);
        bar.setProgress(done);
        text(R.id.running_count).setText(total > 1 ? getString(progress, done, total) : "");
        Button cancel = findViewById(R.id.cancel);
        cancel.setEnabled(!cancelling);
        cancel.setText(!cancelling ? R.string.cancel : ofPhoto ? R.string.cancelling_photo : R.string.cancelling);
    }

    private void showPhoto(Photos.State state) {
        if (state.error != null) {
            toScreen(CHOOSE);
            choose.showError(state.error);
            photos.dismiss();
        } else if (state.result == null) {
            showRunning(state.config, getString(R.string.upscaling), state.done, state.total, R.string.tiles, photos.isCancelling());
        } else if (photo.shown() != state.result) {
            photo.show(state.result);
            toScreen(PHOTO);
        }
    }

    private void show(Benchmarks.Result found) {
        try {
            result.show(found);
            toScreen(SHOW_RESULT);
            findViewById(R.id.result_scroll).scrollTo(0, 0);
        } catch (JSONException | IllegalArgumentException error) {
            tell(getString(R.string.unreadable));
        }
    }

    private void toScreen(int screen) {
        if (screens.getDisplayedChild() != screen) {
            screens.setDisplayedChild(screen);
        }
        if (screen == RUNNING) {
            getWindow().addFlags(WindowManager.LayoutParams.FLAG_KEEP_SCREEN_ON);
        } else {
            getWindow().clearFlags(WindowManager.LayoutParams.FLAG_KEEP_SCREEN_ON);
        }
    }

    private void toChoose() {
        benchmarks.dismiss();
        photos.dismiss();
        toScreen(CHOOSE);
    }

    private void shareCsv() {
        Intent send = new Intent(Intent.ACTION_SEND).setType("text/csv");
        load(
                () -> HistoryScreen.csv(new Storage(this)),
                csv -> startActivity(Intent.createChooser(send.putExtra(Intent.EXTRA_TEXT, csv), getString(R.string.share_csv))));
    }

    private void openHistory() {
        toScreen(HISTORY);
        load(history::read, entries -> history.show(entries, entry -> show(entry.result)));
    }

    @Override
    @SuppressWarnings("deprecation") // Its successor needs Android 13.
    public void onBackPressed() {
        int screen = screens.getDisplayedChild();
        if (screen == SHOW_RESULT || screen == HISTORY || screen == PHOTO) {
            toChoose();
        } else {
            super.onBackPressed();
        }
    }

    /** @param select the model to choose, null for the one that is chosen. */
    private void loadLists(String select) {
        Storage storage = new Storage(this);
        load(storage::models, names -> choose.setModels(names, select));
        load(storage::images, choose::setImages);
    }

    /** Files are read in the background, and used on the main thread. */
    private <T> void load(FileWork<T> work, Use<T> use) {
        Benchmarks.FILES.execute(() -> {
            try {
                T value = work.get();
                runOnUiThread(() -> use.accept(value));
            } catch (IOException error) {
                runOnUiThread(() -> choose.showError(error.getMessage()));
            }
        });
    }

    private void openModel() {
        Intent intent = new Intent(Intent.ACTION_OPEN_DOCUMENT).addCategory(Intent.CATEGORY_OPENABLE).setType("*/*");
        open(intent, OPEN_MODEL);
    }

    private void share() {
        Intent send = new Intent(Intent.ACTION_SEND).setType("application/json");
        startActivity(Intent.createChooser(send.putExtra(Intent.EXTRA_TEXT, result.shown().json), getString(R.string.share)));
    }

    private void export() {
        Intent intent = new Intent(Intent.ACTION_CREATE_DOCUMENT).addCategory(Intent.CATEGORY_OPENABLE);
        open(intent.setType("application/json").putExtra(Intent.EXTRA_TITLE, result.shown().output + ".json"), EXPORT);
    }

    private void open(Intent intent, int request) {
        try {
            startActivityForResult(intent, request);
        } catch (ActivityNotFoundException error) {
            tell(getString(R.string.no_app));
        }
    }

    @Override
    protected void onActivityResult(int request, int code, Intent data) {
        if (photo.received(request, code, data) || code != RESULT_OK || data == null || data.getData() == null) {
            return;
        }
        Uri uri = data.getData();
        if (request == OPEN_MODEL) {
            load(() -> new Storage(this).importModel(uri), this::loadLists);
        } else if (request == EXPORT && result.shown() != null) {
            String json = result.shown().json;
            load(() -> write(uri, json), written -> {});
        }
    }

    private Void write(Uri uri, String json) throws IOException {
        try (OutputStream stream = getContentResolver().openOutputStream(uri, "wt")) {
            if (stream == null) {
                throw new IOException(getString(R.string.no_app));
            }
            stream.write(json.getBytes(StandardCharsets.UTF_8));
        } catch (IOException error) {
            runOnUiThread(() -> tell(error.getMessage()));
        }
        return null;
    }

    private void tell(String message) {
        Toast.makeText(this, message, Toast.LENGTH_LONG).show();
    }

    private TextView text(int id) {
        return findViewById(id);
    }
}
