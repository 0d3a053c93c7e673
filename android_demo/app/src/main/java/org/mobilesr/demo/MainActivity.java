package org.mobilesr.demo;

import android.app.Activity;
import android.content.Intent;
import android.net.Uri;
import android.os.Bundle;
import android.view.WindowManager;
import android.widget.ViewFlipper;
import java.io.File;
import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import org.json.JSONException;
import org.mobilesr.core.RunConfig;

/** The app's only window: choose, running, result, history, photo, comparison. Adb's shell starts benchmarks by BenchmarkIntent. */
public final class MainActivity extends Activity {
    private static final String SCREEN = "screen";
    private static final String RESULT = "result";
    private static final String COMPARED = "compared";
    static final int CHOOSE = 0;
    static final int RUNNING = 1;
    static final int SHOW_RESULT = 2;
    static final int HISTORY = 3;
    static final int PHOTO = 4;
    static final int COMPARE = 5;

    private final Benchmarks benchmarks = Benchmarks.INSTANCE;
    private final Photos photos = Photos.INSTANCE;
    private ViewFlipper screens;
    private ChooseScreen choose;
    private RunningScreen running;
    private ResultScreen result;
    private HistoryScreen history;
    private CompareRunsScreen comparison;
    private PhotoScreen photo;
    private Documents documents;

    @Override
    protected void onCreate(Bundle saved) {
        super.onCreate(saved);
        setContentView(R.layout.main);
        screens = findViewById(R.id.screens);
        choose = new ChooseScreen(this, saved);
        running = new RunningScreen(this);
        result = new ResultScreen(this);
        history = new HistoryScreen(this);
        comparison = new CompareRunsScreen(this);
        photo = new PhotoScreen(this, this::upscale);
        documents = new Documents(this, choose::showError);
        setActions();
        loadLists(null);
        if (saved == null) {
            startFrom(getIntent());
        } else {
            restore(saved);
        }
    }

    private void setActions() {
        onClick(R.id.run, () -> orShowError(() -> start(List.of(choose.config()))));
        onClick(R.id.run_matrix, () -> orShowError(() -> choose.askForMatrix(configs -> orShowError(() -> start(configs)))));
        onClick(R.id.open_model, documents::openModel);
        onClick(R.id.open_history, this::openHistory);
        onClick(R.id.pick_photo, photo::pick);
        onClick(R.id.take_photo, photo::capture);
        onClick(R.id.photo_share, photo::share);
        onClick(R.id.photo_save, photo::askWhereToSave);
        onClick(R.id.photo_zoom, photo::zoom);
        onClick(R.id.photo_back, this::toChoose);
        onClick(R.id.cancel, this::cancel);
        onClick(R.id.result_back, this::toChoose);
        onClick(R.id.share, () -> documents.share("application/json", result.shown().json, R.string.share));
        onClick(R.id.export, () -> documents.save(result.shown().output + ".json"));
        onClick(R.id.history_back, this::toChoose);
        onClick(R.id.history_compare, () -> history.askForComparison(this::compare));
        onClick(R.id.history_csv, () -> documents.load(
                () -> ResultTable.csv(HistoryScreen.all(new Storage(this))),
                csv -> documents.share("text/csv", csv, R.string.share_csv)));
        onClick(R.id.compare_back, this::openHistory);
        onClick(R.id.compare_csv,
                () -> documents.share("text/csv", ResultTable.csv(comparison.shown()), R.string.share_these_csv));
        onClick(R.id.compare_json, this::shareComparison);
    }

    private void onClick(int id, Runnable action) {
        findViewById(id).setOnClickListener(view -> action.run());
    }

    private void orShowError(Runnable action) {
        try {
            action.run();
        } catch (IllegalArgumentException error) {
            choose.showError(error.getMessage());
        }
    }

    private void restore(Bundle saved) {
        int screen = saved.getInt(SCREEN);
        String output = saved.getString(RESULT);
        ArrayList<String> compared = saved.getStringArrayList(COMPARED);
        if (screen == SHOW_RESULT && output != null && benchmarks.state() == null) {
            Storage storage = new Storage(this);
            documents.load(
                    () -> Storage.readText(storage.result(output)),
                    json -> show(new Benchmarks.Result(output, json, null, null, null)));
        } else if (screen == HISTORY) {
            openHistory();
        } else if (screen == COMPARE && compared != null) {
            compareFiles(compared);
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
        state.putStringArrayList(COMPARED, new ArrayList<>(comparison.outputs()));
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
        } else if (BenchmarkIntent.is(intent) && !again) {
            BenchmarkIntent asked = new BenchmarkIntent(intent);
            try {
                start(List.of(asked.config(new Storage(this))));
            } catch (IllegalArgumentException | IOException error) {
                Benchmarks.logFailure(asked.output, error.getMessage());
                choose.showError(error.getMessage());
            }
        }
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
        orShowError(() -> {
            if (benchmarks.isRunning() || !photos.start(this, choose.config(), uri)) {
                documents.tell(getString(photos.isRunning() ? R.string.busy_photo : R.string.busy_benchmark));
            }
            benchmarks.dismiss();
            showState();
        });
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
            toScreen(RUNNING);
            running.show(state, benchmarks.isCancelling());
        } else if (state.runs > 1) { // all of them are in the history
            List<String> outputs = state.outputs;
            benchmarks.dismiss();
            compareFiles(outputs);
        } else if (result.shown() != state.result) {
            show(state.result);
        }
    }

    private void showPhoto(Photos.State state) {
        if (state.error != null) {
            toScreen(CHOOSE);
            choose.showError(state.error);
            photos.dismiss();
        } else if (state.result == null) {
            toScreen(RUNNING);
            running.show(state, photos.isCancelling());
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
            documents.tell(getString(R.string.unreadable));
        }
    }

    /** Results by their names; those that could not be saved are missing. */
    private void compareFiles(List<String> outputs) {
        Storage storage = new Storage(this);
        documents.load(
                () -> {
                    List<HistoryScreen.Entry> entries = new ArrayList<>();
                    for (String output : outputs) {
                        File file = storage.result(output);
                        if (file.exists()) {
                            entries.add(history.entry(file));
                        }
                    }
                    return entries;
                },
                this::compare);
    }

    private void compare(List<HistoryScreen.Entry> entries) {
        comparison.show(entries);
        toScreen(COMPARE);
        findViewById(R.id.compare_scroll).scrollTo(0, 0);
        findViewById(R.id.compare_back).requestFocus();
    }

    private void shareComparison() {
        try {
            documents.share("application/json", ResultTable.json(comparison.shown()), R.string.share_json);
        } catch (JSONException error) {
            documents.tell(getString(R.string.unreadable));
        }
    }

    private void openHistory() {
        toScreen(HISTORY);
        documents.load(history::read, entries -> history.show(entries, entry -> show(entry.result)));
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

    @Override
    @SuppressWarnings("deprecation") // Its successor needs Android 13.
    public void onBackPressed() {
        int screen = screens.getDisplayedChild();
        if (screen == COMPARE) {
            openHistory();
        } else if (screen == SHOW_RESULT || screen == HISTORY || screen == PHOTO) {
            toChoose();
        } else {
            super.onBackPressed();
        }
    }

    /** @param select the model to choose, null for the one that is chosen. */
    private void loadLists(String select) {
        Storage storage = new Storage(this);
        documents.load(storage::models, models -> choose.setModels(models, select));
        documents.load(storage::images, choose::setImages);
    }

    @Override
    protected void onActivityResult(int request, int code, Intent data) {
        if (!photo.received(request, code, data)) {
            String shown = result.shown() == null ? null : result.shown().json;
            documents.received(request, code, data, this::loadLists, shown);
        }
    }
}
