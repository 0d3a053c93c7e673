package org.mobilesr.core;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;

/** Many benchmarks in a row: every file with every delegate, and on the CPU with every number of threads. */
public final class Matrix {
    private Matrix() {}

    /**
     * The benchmarks in their order, named OUTPUT-1, OUTPUT-2, ...
     *
     * @param form its image, warm-up and runs apply to all; its depth and signature to its own model only. Delegates other than
     *     the CPU run with its number of threads.
     * @param models the files and the delegates of each.
     * @param threads numbers of CPU threads.
     */
    public static List<RunConfig> of(RunConfig form, Map<String, List<Delegate>> models, List<Integer> threads) {
        List<RunConfig> configs = new ArrayList<>();
        models.forEach((model, delegates) -> {
            boolean own = model.equals(form.model());
            for (Delegate delegate : delegates) {
                for (int count : delegate == Delegate.CPU ? threads : List.of(form.threads())) {
                    configs.add(new RunConfig(
                            model,
                            form.image(),
                            delegate,
                            count,
                            form.warmup(),
                            form.runs(),
                            own ? form.depth() : null,
                            own ? form.signature() : null,
                            form.output() + "-" + (configs.size() + 1)));
                }
            }
        });
        return configs;
    }
}
