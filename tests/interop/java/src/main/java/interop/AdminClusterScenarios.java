package interop;

import java.util.List;

/** mqadmin: the cluster, its brokers and the name server. */
final class AdminClusterScenarios {
    static void add(Suite suite) {
        suite.add("admin.clusterList", AdminClusterScenarios::clusterList);
        suite.add("admin.brokerStatus", AdminClusterScenarios::brokerStatus);
        suite.add("admin.broker-config", AdminClusterScenarios::brokerConfig);
        suite.add("admin.namesrv-config", AdminClusterScenarios::namesrvConfig);
        suite.add("admin.kv-config", AdminClusterScenarios::kvConfig);
        suite.add("admin.brokerConsumeStats", AdminClusterScenarios::consumeStats);
        suite.addAlone("admin.write-perm", AdminClusterScenarios::writePerm);
    }

    private static void clusterList(Env env) {
        List<String[]> rows = Admin.rows(Admin.run(env, "clusterList"), env.cluster);
        Env.equal("brokers", 1, rows.size());
        Env.equal("name, id, address", env.brokerName + " 0 " + env.broker, rows.get(0)[1] + " " + rows.get(0)[2] + " " + rows.get(0)[3]);
        Env.equal("active", "true", rows.get(0)[rows.get(0).length - 1]);
        Env.contains("clusterList -m", Admin.run(env, "clusterList", "-m"), "#InTotalYest", env.cluster, env.brokerName);
    }

    private static void brokerStatus(Env env) {
        String status = Admin.run(env, "brokerStatus", "-b", env.broker).replaceAll(" +", " ");
        Env.contains("brokerStatus", status, "bootTimestamp", "brokerVersionDesc", "putTps", "getTransferredTps", "msgPutTotalTodayNow",
            "commitLogMaxOffset", "commitLogMinOffset", "commitLogDiskRatio", "dispatchBehindBytes", "runtime", "brokerActive : true");
    }

    private static void brokerConfig(Env env) {
        Env.contains("updateBrokerConfig", Admin.run(env, "updateBrokerConfig", "-b", env.broker, "-k", "maxMsgsNumBatch", "-v", "71"),
            "update broker config success, " + env.broker);
        String config = Admin.run(env, "getBrokerConfig", "-b", env.broker).replaceAll(" +", " ");
        Env.contains("getBrokerConfig", config, env.broker, "maxMsgsNumBatch = 71", "brokerName = " + env.brokerName,
            "brokerClusterName = " + env.cluster, "autoCreateTopicEnable = ", "maxMessageSize = 4194304");
    }

    private static void namesrvConfig(Env env) {
        Env.contains("getNamesrvConfig", Admin.run(env, "getNamesrvConfig").replaceAll(" +", " "),
            env.namesrv, "listenPort = " + env.namesrv.split(":")[1], "kvConfigPath = ");
    }

    private static void kvConfig(Env env) throws Exception {
        Env.contains("updateKvConfig", Admin.run(env, "updateKvConfig", "-s", "interop", "-k", "colour", "-v", "blue"), "success");
        Env.equal("value", "blue", env.admin.getKVConfig("interop", "colour"));
        Env.contains("deleteKvConfig", Admin.run(env, "deleteKvConfig", "-s", "interop", "-k", "colour"), "success");
        try {
            env.admin.getKVConfig("interop", "colour");
            throw new AssertionError("the key is still there");
        } catch (org.apache.rocketmq.client.exception.MQClientException e) {
            Env.contains("error for a key that is gone", e.toString(), "colour");
        }
    }

    private static void consumeStats(Env env) {
        Env.contains("brokerConsumeStats", Admin.run(env, "brokerConsumeStats", "-b", env.broker), "#Diff", "Diff Total:");
    }

    private static void writePerm(Env env) throws Exception {
        String topic = env.topic("admin-write-perm", 2);
        Env.contains("wipeWritePerm", Admin.run(env, "wipeWritePerm", "-b", env.brokerName),
            "wipe write perm of broker[" + env.brokerName + "] in name server[" + env.namesrv + "] OK");
        try {
            Env.contains("route without write", Admin.run(env, "topicRoute", "-t", topic).replaceAll("\\s", ""), "\"perm\":4");
        } finally {
            Env.contains("addWritePerm", Admin.run(env, "addWritePerm", "-b", env.brokerName),
                "add write perm of broker[" + env.brokerName + "] in name server[" + env.namesrv + "] OK");
        }
        Env.contains("route with write", Admin.run(env, "topicRoute", "-t", topic).replaceAll("\\s", ""), "\"perm\":6");
    }
}
