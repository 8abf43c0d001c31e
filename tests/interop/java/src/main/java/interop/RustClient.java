package interop;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Queue;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.TimeUnit;

/** A process of the Rust client, which does one thing and tells what happens, a line each. */
final class RustClient implements AutoCloseable {
    private static final String PROGRAM = System.getProperty("interop.rust", "");

    /** What it said, in order. */
    final Queue<String> lines = new ConcurrentLinkedQueue<>();
    private final String task;
    private final Process process;
    private final Thread reader;

    RustClient(String... task) throws IOException {
        List<String> command = new ArrayList<>(List.of(PROGRAM));
        command.addAll(List.of(task));
        this.task = String.join(" ", task);
        process = new ProcessBuilder(command).redirectErrorStream(true).start();
        reader = new Thread(() -> {
            try (BufferedReader output = new BufferedReader(new InputStreamReader(process.getInputStream(), StandardCharsets.UTF_8))) {
                output.lines().forEach(lines::add);
            } catch (IOException e) {
                lines.add("unreadable " + e);
            }
        });
        reader.start();
    }

    /** Runs one to its end; what it said. */
    static List<String> run(String... task) throws Exception {
        RustClient client = new RustClient(task);
        client.close();
        return List.copyOf(client.lines);
    }

    /** What stands behind a word in the lines that begin with it. */
    List<String> said(String word) {
        return lines.stream().filter(line -> line.startsWith(word + " ")).map(line -> line.substring(word.length() + 1)).toList();
    }

    /** Waits until it has said so many lines that begin with a word. */
    List<String> await(String word, int count) throws Exception {
        try {
            Env.await(count + " lines '" + word + "'", 20_000, () -> said(word).size() >= count);
        } catch (AssertionError e) {
            throw new AssertionError(e.getMessage() + " of: " + task + "; it said: " + lines);
        }
        return said(word);
    }

    /** What it received, as 'QUEUE OFFSET RECONSUME_TIMES BODY'. */
    List<String[]> got() {
        return said("got").stream().map(line -> line.split(" ", 4)).toList();
    }

    List<String> bodies() {
        return got().stream().map(words -> words[3]).toList();
    }

    /** Has it leave, and waits for its end. */
    @Override
    public void close() throws Exception {
        process.getOutputStream().close();
        if (!process.waitFor(30, TimeUnit.SECONDS)) {
            process.destroyForcibly();
            throw new AssertionError("did not end: " + task + "; it said: " + lines);
        }
        reader.join();
        Env.check(process.exitValue() == 0, "exit code " + process.exitValue() + " of: " + task + "; it said: " + lines);
    }
}
