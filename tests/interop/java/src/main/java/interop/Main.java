package interop;

/** Runs every scenario of the official Java client and of Apache's mqadmin: NAMESRV BROKER [NAME]. */
public final class Main {
    public static void main(String[] args) throws Exception {
        Suite suite = new Suite(args.length > 2 ? args[2] : "");
        QuickstartScenario.add(suite);
        SendScenarios.add(suite);
        BatchScenarios.add(suite);
        PushScenarios.add(suite);
        PullScenarios.add(suite);
        FilterScenarios.add(suite);
        RetryScenarios.add(suite);
        PopScenarios.add(suite);
        OrderScenarios.add(suite);
        TimerScenarios.add(suite);
        RebalanceScenarios.add(suite);
        TransactionScenarios.add(suite);
        TraceScenarios.add(suite);
        DeduplicationScenarios.add(suite);
        CompactionScenarios.add(suite);
        TypeScenarios.add(suite);
        QueryScenarios.add(suite);
        ReplyScenarios.add(suite);
        ErrorScenarios.add(suite);
        AdminTopicScenarios.add(suite);
        AdminGroupScenarios.add(suite);
        AdminMessageScenarios.add(suite);
        AdminClusterScenarios.add(suite);
        RustScenarios.add(suite);
        RestartScenarios.add(suite);
        int exit = 1;
        try {
            suite.run(args[0], args[1]);
            exit = 0;
        } catch (Throwable e) {
            e.printStackTrace();
        }
        // Client threads that a failed scenario left behind must not keep the program alive.
        System.exit(exit);
    }
}
