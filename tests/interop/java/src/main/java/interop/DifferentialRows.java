package interop;

import java.util.ArrayList;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.apache.commons.cli.Options;
import org.apache.rocketmq.tools.command.SubCommand;

/** The commands that are compared: each read-only one of mqadmin, with each of its options in some row. */
final class DifferentialRows {
    /** Commands that change something; each has a test of what it does. */
    private static final Set<String> CHANGING = Set.of(
        "updateTopic", "updateTopicList", "deleteTopic", "updateSubGroup", "updateSubGroupList", "setConsumeMode", "deleteSubGroup",
        "updateBrokerConfig", "updateTopicPerm", "addBroker", "removeBroker", "resetMasterFlushOffset", "sendMsgStatus",
        "cloneGroupOffset", "updateKvConfig", "deleteKvConfig", "wipeWritePerm", "addWritePerm", "resetOffsetByTime",
        "skipAccumulatedMessage", "updateOrderConf", "cleanExpiredCQ", "deleteExpiredCommitLog", "cleanUnusedTopic", "startMonitoring",
        "checkMsgSendRT", "clusterRT", "updateNamesrvConfig", "sendMessage", "updateStaticTopic", "remappingStaticTopic",
        "exportMetadataInRocksDB", "exportPopRecord", "updateControllerConfig", "electMaster", "cleanBrokerMetadata", "dumpCompactionLog",
        "updateColdDataFlowCtrGroupConfig", "removeColdDataFlowCtrGroupConfig", "setCommitLogReadAheadMode", "createUser", "updateUser",
        "deleteUser", "copyUser", "createAcl", "updateAcl", "deleteAcl", "copyAcl", "rocksDBConfigToJson", "switchTimerEngine",
        "triggerLiteDispatch");
    /** Options that repeat the command for ever. */
    private static final Set<String> ENDLESS = Set.of("clusterList -i", "haStatus -i", "getSyncStateSet -i", "getBrokerEpoch -i");

    /** Folder of files that commands write. */
    static final String EXPORTED = "exported";

    /** Commands that run at the same time. The next ones see what these left: counters, clients. */
    record Batch(Map<String, List<String>> rows) { }

    private final List<Batch> batches = new ArrayList<>();
    private int count;

    private DifferentialRows() { }

    /** The rows by name; the name is that of the file that a row's output is kept in. */
    static List<Batch> of(Env env, DifferentialState state) {
        DifferentialRows rows = new DifferentialRows();
        // Before other commands make themselves known as producers.
        rows.batch();
        rows.add("producer", "-b", env.broker);
        rows.batch();
        rows.cluster(env.namesrv, env.broker, env.cluster, env.brokerName);
        rows.topics(env.cluster);
        rows.groups(env, state.clientId);
        rows.access(env.broker, env.cluster);
        rows.lite(env.broker, env.cluster);
        rows.controller(env);
        rows.files(env.broker, env.cluster);
        // They count as reading.
        rows.batch();
        rows.messages(env, state);
        // Last, as mqadmin's exports fail where there is a static topic.
        rows.batch();
        rows.add("updateStaticTopic", "-t", DifferentialState.STATIC, "-qn", "3", "-c", env.cluster);
        rows.batch();
        rows.add("topicRoute", "-t", DifferentialState.STATIC);
        rows.add("topicStatus", "-t", DifferentialState.STATIC);
        rows.checkComplete();
        return rows.batches;
    }

    private void batch() {
        batches.add(new Batch(new LinkedHashMap<>()));
    }

    private void cluster(String namesrv, String broker, String cluster, String brokerName) {
        add("clusterList");
        add("clusterList", "-c", cluster);
        add("clusterList", "-m");
        add("brokerStatus", "-b", broker);
        add("brokerStatus", "-c", cluster);
        add("getBrokerConfig", "-b", broker);
        add("getBrokerConfig", "-c", cluster);
        add("getNamesrvConfig");
        add("haStatus", "-b", broker);
        add("haStatus", "-c", cluster);
        add("getBrokerEpoch", "-c", cluster);
        add("getBrokerEpoch", "-b", brokerName);
        add("getColdDataFlowCtrInfo", "-b", broker);
        add("getColdDataFlowCtrInfo", "-c", cluster);
        add("checkRocksdbCqWriteProgress", "-c", cluster, "-n", namesrv);
        add("checkRocksdbCqWriteProgress", "-c", cluster, "-n", namesrv, "-t", DifferentialState.TOPIC, "-cf", "0");
    }

    private void topics(String cluster) {
        add("topicList");
        add("topicList", "-c");
        add("topicRoute", "-t", DifferentialState.TOPIC);
        add("topicRoute", "-t", DifferentialState.TOPIC, "-l");
        add("topicRoute", "-t", DifferentialState.FIFO);
        add("topicRoute", "-t", "diff-unknown");
        add("topicStatus", "-t", DifferentialState.TOPIC);
        add("topicStatus", "-t", DifferentialState.EMPTY, "-c", cluster);
        add("topicStatus", "-t", "diff-unknown");
        add("topicClusterList", "-t", DifferentialState.TOPIC);
        add("topicClusterList", "-t", "diff-unknown");
        add("statsAll", "-t", DifferentialState.TOPIC);
        add("statsAll");
        add("statsAll", "-a");
        add("allocateMQ", "-t", DifferentialState.TOPIC, "-i", "192.0.2.1,192.0.2.2");
    }

    private void messages(Env env, DifferentialState state) {
        String topic = DifferentialState.TOPIC;
        String id = state.sent.get("body-3").getMsgId();
        String offsetId = state.sent.get("body-3").getOffsetMsgId();
        String always = String.valueOf(Long.MAX_VALUE);
        add("queryMsgById", "-t", topic, "-i", offsetId);
        add("queryMsgById", "-t", topic, "-i", offsetId, "-f", "UTF-8", "-c", env.cluster, "-u", "unit");
        add("queryMsgById", "-t", topic, "-i", offsetId, "-g", DifferentialState.ONLINE, "-d", state.clientId, "-s", "false");
        add("queryMsgById", "-t", topic, "-i", "00000000000000000000000000000000");
        add("queryMsgByUniqueKey", "-t", topic, "-i", id);
        add("queryMsgByUniqueKey", "-t", topic, "-i", id, "-a", "-c", env.cluster, "-s", "0", "-e", always);
        add("queryMsgByUniqueKey", "-t", topic, "-i", id, "-g", DifferentialState.ONLINE, "-d", state.clientId);
        add("queryMsgByUniqueKey", "-t", topic, "-i", "no-such-id");
        add("queryMsgByKey", "-t", topic, "-k", "key-body-3");
        add("queryMsgByKey", "-t", topic, "-k", "key-body-3", "-b", "0", "-e", always, "-m", "5", "-c", env.cluster);
        add("queryMsgByKey", "-t", topic, "-k", "A", "-p", "T", "-l", "none");
        add("queryMsgByKey", "-t", topic, "-k", "no-such-key");
        add("queryMsgByOffset", "-t", topic, "-b", env.brokerName, "-i", "3", "-o", "0");
        add("queryMsgByOffset", "-t", topic, "-b", env.brokerName, "-i", "3", "-o", "0", "-f", "UTF-8", "-r", topic);
        add("queryMsgByOffset", "-t", topic, "-b", env.brokerName, "-i", "3", "-o", "99");
        add("queryMsgTraceById", "-i", state.sent.get("traced").getMsgId());
        add("queryMsgTraceById", "-i", state.sent.get("traced").getMsgId(), "-t", "RMQ_SYS_TRACE_TOPIC", "-b", "0", "-e", always, "-c", "9");
        add("queryMsgTraceById", "-i", "no-such-id");
        add("printMsg", "-t", topic);
        add("printMsg", "-t", topic, "-c", "UTF-8", "-s", "A", "-b", "0", "-e", always, "-d", "true");
        add("printMsg", "-t", topic, "-l", topic, "-b", always);
        add("printMsgByQueue", "-t", topic, "-a", env.brokerName, "-i", "0", "-p", "true", "-d", "true", "-c", "UTF-8");
        add("printMsgByQueue", "-t", topic, "-a", env.brokerName, "-i", "0", "-f", "true", "-s", "A", "-b", "0", "-e", always);
        add("consumeMessage", "-t", topic, "-c", "3");
        add("consumeMessage", "-t", topic, "-b", env.brokerName, "-i", "1", "-o", "1", "-c", "2", "-g", DifferentialState.BEHIND);
        add("consumeMessage", "-t", topic, "-b", env.brokerName, "-i", "1", "-s", "0", "-e", always, "-c", "2");
        add("consumeMessage", "-t", topic, "-b", env.brokerName, "-i", "1", "-o", "77", "-c", "2");
        add("queryCq", "-t", topic, "-q", "0", "-i", "0");
        add("queryCq", "-t", topic, "-q", "0", "-i", "1", "-c", "2", "-b", env.broker, "-g", DifferentialState.ONLINE);
        add("queryCq", "-t", topic, "-q", "0", "-i", "50", "-b", env.broker);
        add("queryCq", "-t", "diff-unknown", "-q", "0", "-i", "0", "-b", env.broker);
    }

    private void groups(Env env, String clientId) {
        String online = DifferentialState.ONLINE;
        String behind = DifferentialState.BEHIND;
        add("consumerProgress");
        add("consumerProgress", "-g", online);
        add("consumerProgress", "-g", online, "-t", DifferentialState.TOPIC, "-s", "true", "-c", env.cluster);
        add("consumerProgress", "-g", behind);
        add("consumerProgress", "-g", "diff-unknown");
        add("consumerConnection", "-g", online);
        add("consumerConnection", "-g", online, "-b", env.broker);
        add("consumerConnection", "-g", behind);
        add("consumerStatus", "-g", online);
        add("consumerStatus", "-g", online, "-i", clientId, "-b", env.broker);
        add("consumerStatus", "-g", online, "-i", clientId, "-s");
        add("consumerStatus", "-g", behind);
        add("producerConnection", "-g", DifferentialState.PRODUCER, "-t", DifferentialState.TOPIC);
        add("producerConnection", "-g", "diff-unknown", "-t", DifferentialState.TOPIC);
        add("brokerConsumeStats", "-b", env.broker);
        add("brokerConsumeStats", "-b", env.broker, "-l", "1", "-t", "5000", "-o", "false");
        add("brokerConsumeStats", "-b", env.broker, "-o", "true");
        add("getConsumerConfig", "-g", online);
        add("getConsumerConfig", "-g", behind);
        add("getConsumerConfig", "-g", "diff-unknown");
    }

    private void access(String broker, String cluster) {
        add("listUser", "-b", broker);
        add("listUser", "-c", cluster, "-f", "ali");
        add("getUser", "-b", broker, "-u", "alice");
        add("getUser", "-c", cluster, "-u", "nobody");
        add("listAcl", "-b", broker);
        add("listAcl", "-c", cluster, "-s", "User:alice", "-r", "Topic:diff");
        add("getAcl", "-b", broker, "-s", "User:alice");
        add("getAcl", "-c", cluster, "-s", "User:nobody");
    }

    private void lite(String broker, String cluster) {
        add("getBrokerLiteInfo", "-b", broker, "-d");
        add("getBrokerLiteInfo", "-c", cluster);
        add("getParentTopicInfo", "-p", DifferentialState.TOPIC);
        add("getLiteTopicInfo", "-p", DifferentialState.TOPIC, "-l", "lite", "-s");
        add("getLiteClientInfo", "-p", DifferentialState.TOPIC, "-g", DifferentialState.ONLINE, "-c", "client", "-s");
        add("getLiteGroupInfo", "-p", DifferentialState.TOPIC, "-g", DifferentialState.ONLINE, "-l", "lite", "-k", "5");
    }

    /** Asked of the name server: neither of the two has a controller in it. */
    private void controller(Env env) {
        add("getControllerMetaData", "-a", env.namesrv);
        add("getControllerConfig", "-a", env.namesrv);
        add("getSyncStateSet", "-a", env.namesrv, "-b", env.brokerName);
        add("getSyncStateSet", "-a", env.namesrv, "-c", env.cluster);
    }

    private void files(String broker, String cluster) {
        add("exportMetadata", "-b", broker, "-f", EXPORTED);
        add("exportMetadata", "-c", cluster, "-t", "-f", EXPORTED);
        add("exportMetadata", "-c", cluster, "-g", "-s", "-f", EXPORTED);
        add("exportConfigs", "-c", cluster, "-f", EXPORTED);
        add("exportMetrics", "-c", cluster, "-f", EXPORTED);
    }

    private void add(String... words) {
        batches.get(batches.size() - 1).rows.put(String.format("%03d-%s", count++, words[0]), List.of(words));
    }

    /** Fails where mqadmin has a read-only command, or an option of one, that no row uses. */
    void checkComplete() {
        Set<String> used = new HashSet<>();
        for (Batch batch : batches) {
            for (List<String> words : batch.rows.values()) {
                used.add(words.get(0));
                words.stream().skip(1).filter(word -> word.matches("-[a-zA-Z]+")).forEach(option -> used.add(words.get(0) + " " + option));
            }
        }
        List<String> missing = new ArrayList<>();
        for (SubCommand command : Admin.commands()) {
            String name = command.commandName();
            if (CHANGING.contains(name)) {
                continue;
            }
            missing.add(name);
            command.buildCommandlineOptions(new Options()).getOptions().forEach(option -> missing.add(name + " -" + option.getOpt()));
        }
        missing.removeAll(used);
        missing.removeAll(ENDLESS);
        Env.check(missing.isEmpty(), "not compared: " + missing);
    }
}
