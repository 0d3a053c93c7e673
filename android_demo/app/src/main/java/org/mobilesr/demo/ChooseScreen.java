package org.mobilesr.demo;

import android.app.Activity;
import android.app.AlertDialog;
import android.os.Bundle;
import android.text.Editable;
import android.view.View;
import android.widget.AdapterView;
import android.widget.ArrayAdapter;
import android.widget.EditText;
import android.widget.Spinner;
import android.widget.TextView;
import java.io.IOException;
import java.time.LocalDateTime;
import java.time.format.DateTimeFormatter;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.function.Consumer;
import org.mobilesr.core.Delegate;
import org.mobilesr.core.Matrix;
import org.mobilesr.core.ModelFile;
import org.mobilesr.core.ModelTitle;
import org.mobilesr.core.RunConfig;

/** The form in which a benchmark is chosen. */
final class ChooseScreen {
    private static final String MODEL = "chosen model";
    private static final String IMAGE = "chosen image";
    private static final String SIGNATURE = "chosen signature";
    private static final String DELEGATE = "chosen delegate";
    private static final List<Integer> MATRIX_THREADS = List.of(1, 2, 4);
    private static final DateTimeFormatter NAME = DateTimeFormatter.ofPattern("yyyyMMdd-HHmmss.SSS");

    private final Activity activity;
    private final Spinner model;
    private final Spinner image;
    private final Spinner delegate;
    private final Spinner signature;
    private final TextView error;
    private List<Delegate> delegates = List.of();
    private Map<String, List<Delegate>> offered = Map.of();
    private List<String> models = new ArrayList<>();
    private List<String> images = new ArrayList<>();
    private String wantedModel;
    private String wantedImage;
    private String wantedSignature;
    private Delegate wantedDelegate;
    private List<String> signatures = new ArrayList<>();
    private boolean takesDepth;

    ChooseScreen(Activity activity, Bundle saved) {
        this.activity = activity;
        model = activity.findViewById(R.id.model);
        image = activity.findViewById(R.id.image);
        delegate = activity.findViewById(R.id.delegate);
        signature = activity.findViewById(R.id.signature);
        error = activity.findViewById(R.id.choose_error);
        wantedDelegate = Delegate.named(saved == null ? Delegate.CPU.id : saved.getString(DELEGATE));
        wantedSignature = saved == null ? null : saved.getString(SIGNATURE);
        model.setOnItemSelectedListener(new AdapterView.OnItemSelectedListener() {
            @Override
            public void onItemSelected(AdapterView<?> parent, View view, int position, long id) {
                offerDelegates(offered.get(models.get(position)));
                readFile(models.get(position));
            }

            @Override
            public void onNothingSelected(AdapterView<?> parent) {}
        });
        wantedModel = saved == null ? RunConfig.DEFAULT_MODEL : saved.getString(MODEL);
        wantedImage = saved == null ? RunConfig.DEFAULT_IMAGE : saved.getString(IMAGE);
    }

    /** The lists are read in the background; what was chosen stays chosen. */
    void save(Bundle state) {
        state.putString(MODEL, chosen(model, models, wantedModel));
        state.putString(IMAGE, chosen(image, images, wantedImage));
        state.putString(DELEGATE, chosenDelegate().id);
        state.putString(SIGNATURE, chosen(signature, signatures, wantedSignature));
    }

    /** The chosen one stays chosen if the file has it. */
    private void offerDelegates(List<Delegate> found) {
        if (!found.equals(delegates)) {
            wantedDelegate = chosenDelegate();
            delegates = found;
            List<String> names = new ArrayList<>();
            for (Delegate one : delegates) {
                names.add(activity.getResources().getStringArray(R.array.delegates)[one.ordinal()]);
            }
            setItems(delegate, names);
            delegate.setSelection(Math.max(0, delegates.indexOf(wantedDelegate)));
        }
    }

    private Delegate chosenDelegate() {
        int position = delegate.getSelectedItemPosition();
        return position >= 0 && position < delegates.size() ? delegates.get(position) : wantedDelegate;
    }

    /** Shows the controls for depth and signature if the file has such. What is wrong with a file is said when it runs. */
    private void readFile(String name) {
        Benchmarks.FILES.execute(() -> {
            try {
                ModelFile file = new ModelFile(new Storage(activity).read(Storage.MODELS, name));
                String first = file.signature(null);
                boolean depth = file.withSignature(first).takesDepth();
                activity.runOnUiThread(() -> showControls(name, file.signatures(), first, depth));
            } catch (IOException | IllegalArgumentException exception) {
                activity.runOnUiThread(() -> showControls(name, List.of(), null, false));
            }
        });
    }

    private void showControls(String name, List<String> found, String first, boolean depth) {
        if (!name.equals(chosen(model, models, null))) {
            return;
        }
        takesDepth = depth;
        signatures = found.size() > 1 ? found : new ArrayList<>();
        fill(signature, signatures, signatures.contains(wantedSignature) ? wantedSignature : first);
        activity.findViewById(R.id.depth_card).setVisibility(depth ? View.VISIBLE : View.GONE);
        activity.findViewById(R.id.signature_card).setVisibility(signatures.isEmpty() ? View.GONE : View.VISIBLE);
    }

    /** @param select the model to choose, null for the one that is chosen. */
    void setModels(Map<String, List<Delegate>> found, String select) {
        if (select != null && !found.containsKey(select)) {
            showError(activity.getString(R.string.other_chip, ModelTitle.of(select)));
        }
        wantedModel = select == null ? chosen(model, models, wantedModel) : select;
        offered = found;
        models = new ArrayList<>(found.keySet());
        fill(model, models, wantedModel);
        int position = model.getSelectedItemPosition();
        if (position >= 0) {
            offerDelegates(found.get(models.get(position)));
        }
    }

    void setImages(List<String> names) {
        wantedImage = chosen(image, images, wantedImage);
        images = names;
        fill(image, names, wantedImage);
    }

    private static String chosen(Spinner spinner, List<String> names, String otherwise) {
        int position = spinner.getSelectedItemPosition();
        return position >= 0 && position < names.size() ? names.get(position) : otherwise;
    }

    private void fill(Spinner spinner, List<String> names, String wanted) {
        List<String> shown = titles(names);
        setItems(spinner, shown);
        spinner.setSelection(Math.max(0, names.indexOf(wanted)));
    }

    private void setItems(Spinner spinner, List<String> shown) {
        ArrayAdapter<String> adapter = new ArrayAdapter<>(activity, android.R.layout.simple_spinner_item, shown);
        adapter.setDropDownViewResource(android.R.layout.simple_spinner_dropdown_item);
        spinner.setAdapter(adapter);
    }

    /** What the lists show for files. */
    private List<String> titles(List<String> names) {
        List<String> shown = new ArrayList<>();
        for (String name : names) {
            boolean packaged = name.startsWith(RunConfig.ASSET);
            shown.add(packaged ? activity.getString(R.string.packaged, ModelTitle.of(name)) : ModelTitle.of(name));
        }
        return shown;
    }

    /** Asks which files a matrix of runs is for, the chosen one at first. */
    void askForMatrix(Consumer<List<RunConfig>> start) {
        RunConfig form = config();
        boolean[] checked = new boolean[models.size()];
        for (int i = 0; i < checked.length; i++) {
            checked[i] = models.get(i).equals(form.model());
        }
        new AlertDialog.Builder(activity)
                .setTitle(R.string.matrix_models)
                .setMultiChoiceItems(titles(models).toArray(new String[0]), checked, (dialog, which, on) -> checked[which] = on)
                .setNegativeButton(R.string.cancel, null)
                .setPositiveButton(R.string.run, (dialog, which) -> {
                    Map<String, List<Delegate>> wanted = new LinkedHashMap<>();
                    for (int i = 0; i < checked.length; i++) {
                        if (checked[i]) {
                            wanted.put(models.get(i), offered.get(models.get(i)));
                        }
                    }
                    if (!wanted.isEmpty()) {
                        start.accept(Matrix.of(form, wanted, MATRIX_THREADS));
                    }
                })
                .show();
    }

    /** @param message null to take it away. */
    void showError(String message) {
        error.setText(message);
        error.setVisibility(message == null ? View.GONE : View.VISIBLE);
    }

    /** @throws IllegalArgumentException with one line about what is wrong in the form. */
    RunConfig config() {
        Editable depth = ((EditText) activity.findViewById(R.id.depth)).getText();
        return new RunConfig(
                chosen(model, models, wantedModel),
                chosen(image, images, wantedImage),
                chosenDelegate(),
                (int) number(R.id.threads, R.string.label_threads),
                (int) number(R.id.warmup, R.string.label_warmup),
                (int) number(R.id.runs, R.string.label_runs),
                !takesDepth || depth.length() == 0 ? null : number(R.id.depth, R.string.label_depth),
                chosen(signature, signatures, null),
                "run-" + LocalDateTime.now().format(NAME));
    }

    private double number(int id, int label) {
        String text = ((EditText) activity.findViewById(id)).getText().toString();
        try {
            return Double.parseDouble(text);
        } catch (NumberFormatException exception) {
            String message = activity.getString(R.string.need_number, activity.getString(label));
            throw new IllegalArgumentException(message, exception);
        }
    }
}
