package interop;

import java.io.File;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;

/**
 * What mqadmin prints, of one server after the other: NAMESRV BROKER FOLDER SERVER... Each is brought to the same state, then
 * every read-only command is run, and what it prints is written to FOLDER/SERVER/ROW.txt; then raw requests of POP, light queues, priorities and lite
 * topics, and what they are answered. The runner compares.
 */
public final class Differential {
    /** How long one command may take; some that ask about what is not there try for a while. */
    private static final int ROW_S = 30;
    /** The tool waits more than it works. */
    private static final int AT_ONCE = 8;

    private Differential() { }

    public static void main(String[] args) {
        int exit = 1;
        try {
            for (int i = 3; i < args.length; i++) {
                String server = args[i];
                Path folder = Files.createDirectories(Path.of(args[2], server));
                if (i > 3) {
                    Suite.switchServer(server + ":stop");
                }
                Suite.report("differential." + server, () -> record(args[0], args[1], folder));
            }
            exit = 0;
        } catch (Throwable e) {
            e.printStackTrace();
        }
        System.exit(exit);
    }

    private static void record(String namesrv, String broker, Path folder) throws Exception {
        ExecutorService lanes = Executors.newFixedThreadPool(AT_ONCE);
        ExecutorService workers = Executors.newCachedThreadPool();
        try (Env env = new Env(namesrv, broker); DifferentialState state = new DifferentialState(env)) {
            for (DifferentialRows.Batch batch : DifferentialRows.of(env, state)) {
                List<Future<?>> running = new ArrayList<>();
                for (Map.Entry<String, List<String>> row : batch.rows().entrySet()) {
                    running.add(lanes.submit(() -> {
                        Files.writeString(folder.resolve(row.getKey() + ".txt"), print(env, row.getKey(), row.getValue(), workers));
                        return null;
                    }));
                }
                for (Future<?> one : running) {
                    one.get();
                }
            }
            DifferentialPop.record(env, folder);
            DifferentialLight.record(env, folder);
            DifferentialLite.record(env, folder);
        } finally {
            lanes.shutdownNow();
            workers.shutdownNow();
        }
    }

    /** The command line, what it printed, and the files that it wrote. */
    private static String print(Env env, String name, List<String> words, ExecutorService workers) throws Exception {
        List<String> arguments = new ArrayList<>(words);
        arguments.replaceAll(word -> word.equals(DifferentialRows.EXPORTED) ? name : word);
        Future<String> printed = workers.submit(() -> {
            String once = Admin.print(env, arguments.toArray(new String[0]));
            // Commands name their clients by the millisecond.
            return once.contains("has been created before") ? Admin.print(env, arguments.toArray(new String[0])) : once;
        });
        String text;
        try {
            text = printed.get(ROW_S, TimeUnit.SECONDS);
        } catch (TimeoutException e) {
            printed.cancel(true);
            text = "not done after " + ROW_S + " s\n";
        }
        return "$ mqadmin " + String.join(" ", words) + "\n" + text + "\n" + exported(new File(name));
    }

    private static String exported(File folder) throws IOException {
        File[] files = folder.listFiles();
        StringBuilder text = new StringBuilder();
        for (File file : files == null ? new File[0] : files) {
            text.append("file ").append(file.getName()).append('\n').append(Files.readString(file.toPath())).append('\n');
            Files.delete(file.toPath());
        }
        return text.toString();
    }
}
