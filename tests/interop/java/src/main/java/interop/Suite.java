package interop;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;

/**
 * The scenarios and how they run: most of them wait more than they work, so several run at once,
 * each on topics and groups of its own; then, one after the other, those that need the server for themselves.
 */
final class Suite {
    /** What a scenario does; it fails by throwing. */
    interface Body {
        void run(Env env) throws Exception;
    }

    private record Scenario(String name, Body body) { }

    private static final int AT_ONCE = 8;
    private static final int TIMEOUT_S = 90;
    /** As they are before the admin scenarios put theirs in place: the runner reads results here. */
    private static final PrintStream OUT = System.out;
    private static final PrintStream ERR = System.err;
    private static final BufferedReader IN = new BufferedReader(new InputStreamReader(System.in));

    private final String only;
    private final List<Scenario> shared = new ArrayList<>();
    private final List<Scenario> alone = new ArrayList<>();

    Suite(String only) {
        this.only = only;
    }

    /** A scenario that may run beside others. */
    void add(String name, Body body) {
        add(shared, name, body);
    }

    /** A scenario of something that Apache's server doesn't have; may run beside others. */
    void addOurs(String name, Body body) {
        if (!"apache".equals(System.getProperty("interop.server"))) {
            add(shared, name, body);
        }
    }

    /** A scenario that measures time, or changes or restarts the server. */
    void addAlone(String name, Body body) {
        add(alone, name, body);
    }

    private void add(List<Scenario> list, String name, Body body) {
        if (name.contains(only)) {
            list.add(new Scenario(name, body));
        }
    }

    void run(String namesrv, String broker) throws Exception {
        if (shared.isEmpty() && alone.isEmpty()) {
            return;
        }
        ExecutorService workers = Executors.newCachedThreadPool();
        try (Env env = new Env(namesrv, broker)) {
            ExecutorService lanes = Executors.newFixedThreadPool(AT_ONCE);
            List<Future<?>> running = new ArrayList<>();
            for (Scenario scenario : shared) {
                running.add(lanes.submit(() -> runOne(scenario, env, workers)));
            }
            for (Future<?> one : running) {
                one.get();
            }
            lanes.shutdown();
            for (Scenario scenario : alone) {
                runOne(scenario, env, workers);
            }
        }
        workers.shutdownNow();
    }

    /** Something that may fail by throwing. */
    interface Work {
        void run() throws Exception;
    }

    /** Does something and tells the runner how it went; throws where it failed. */
    static void report(String name, Work work) throws Exception {
        long started = System.nanoTime();
        try {
            work.run();
        } catch (Throwable e) {
            tell(name, started, e);
            throw e;
        }
        tell(name, started, null);
    }

    private static void runOne(Scenario scenario, Env env, ExecutorService workers) {
        long started = System.nanoTime();
        Throwable cause = null;
        Future<?> work = workers.submit(() -> {
            scenario.body.run(env);
            return null;
        });
        try {
            work.get(TIMEOUT_S, TimeUnit.SECONDS);
        } catch (TimeoutException e) {
            work.cancel(true);
            cause = new AssertionError("not done after " + TIMEOUT_S + " s");
        } catch (Exception e) {
            cause = e.getCause() == null ? e : e.getCause();
        }
        tell(scenario.name, started, cause);
    }

    private static void tell(String name, long started, Throwable cause) {
        String seconds = String.format(" %.2f", (System.nanoTime() - started) / 1e9);
        if (cause == null) {
            OUT.println("ok " + name + seconds);
        } else {
            OUT.println("FAILED " + name + seconds + " " + String.valueOf(cause).replaceAll("\\s+", " "));
            cause.printStackTrace(ERR);
        }
    }

    /** Has the runner stop and start the server; returns when it is ready again. */
    static void restartServer() throws IOException {
        ask("restart");
    }

    /** Has the runner end the server and start another one on its folder: 'apache:kill', 'apogee:stop'. */
    static void switchServer(String to) throws IOException {
        ask("switch " + to);
    }

    private static void ask(String what) throws IOException {
        OUT.println(what);
        if (!"restarted".equals(IN.readLine())) {
            throw new IOException("the runner did not: " + what);
        }
    }
}
