package interop;

import java.io.ByteArrayOutputStream;
import java.io.OutputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.regex.Pattern;
import org.apache.commons.cli.CommandLine;
import org.apache.commons.cli.DefaultParser;
import org.apache.commons.cli.Options;
import org.apache.rocketmq.common.MixAll;
import org.apache.rocketmq.srvutil.ServerUtil;
import org.apache.rocketmq.tools.command.MQAdminStartup;
import org.apache.rocketmq.tools.command.SubCommand;

/**
 * Apache's mqadmin in this process. Several commands run at once, each a new object, as in a process of its own;
 * what they print to System.out and System.err is caught by thread.
 */
final class Admin extends MQAdminStartup {
    private static final Pattern FAILURE = Pattern.compile("(?m)^(Caused by: )?\\w+\\.[\\w.]*(Exception|Error)\\b");
    private static final InheritableThreadLocal<OutputStream> PRINTED = new InheritableThreadLocal<>();

    static {
        initCommand();
        System.setOut(byThread(System.out));
        System.setErr(byThread(System.err));
    }

    private static PrintStream byThread(PrintStream otherwise) {
        return new PrintStream(new OutputStream() {
            @Override
            public void write(int b) {
                write(new byte[] {(byte) b}, 0, 1);
            }

            @Override
            public void write(byte[] bytes, int from, int count) {
                OutputStream caught = PRINTED.get();
                try {
                    (caught == null ? otherwise : caught).write(bytes, from, count);
                } catch (java.io.IOException e) {
                    throw new java.io.UncheckedIOException(e);
                }
            }
        }, true, StandardCharsets.UTF_8);
    }

    /** Runs 'mqadmin ARGUMENTS -n NAMESRV' and returns what it printed; an exception that it prints is a failure. */
    static String run(Env env, String... arguments) {
        String printed = print(env, arguments);
        Env.check(!FAILURE.matcher(printed).find(), "mqadmin " + String.join(" ", arguments) + " failed: " + printed);
        return printed;
    }

    /** The same, where an error is what the scenario wants to see. */
    static String print(Env env, String... arguments) {
        ByteArrayOutputStream caught = new ByteArrayOutputStream();
        PRINTED.set(caught);
        try {
            System.setProperty(MixAll.NAMESRV_ADDR_PROPERTY, env.namesrv);
            execute(arguments);
        } catch (Exception e) {
            e.printStackTrace();
        } finally {
            PRINTED.remove();
        }
        return caught.toString(StandardCharsets.UTF_8);
    }

    private static void execute(String[] arguments) throws Exception {
        SubCommand command = command(arguments[0]);
        Options options = command.buildCommandlineOptions(ServerUtil.buildCommandlineOptions(new Options()));
        List<String> rest = new ArrayList<>(Arrays.asList(arguments).subList(1, arguments.length));
        CommandLine line = new DefaultParser().parse(options, rest.toArray(new String[0]));
        command.execute(line, options, null);
    }

    /** All that mqadmin has. */
    static List<SubCommand> commands() {
        return SUB_COMMANDS;
    }

    /** Commands name their clients by the millisecond: no two start in the same. */
    private static synchronized SubCommand command(String name) throws Exception {
        Thread.sleep(20);
        for (SubCommand command : SUB_COMMANDS) {
            if (command.commandName().equalsIgnoreCase(name)) {
                return command.getClass().getDeclaredConstructor().newInstance();
            }
        }
        throw new IllegalArgumentException("mqadmin has no command " + name);
    }

    /** The rows of a table: those lines whose first word is so, as words. */
    static List<String[]> rows(String table, String firstWord) {
        return table.lines().map(line -> line.trim().split("\\s+")).filter(words -> words[0].equals(firstWord)).toList();
    }
}
