package interop;

import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import org.apache.rocketmq.common.TopicConfig;
import org.apache.rocketmq.common.message.MessageDecoder;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.remoting.protocol.RemotingCommand;
import org.apache.rocketmq.remoting.protocol.RequestCode;
import org.apache.rocketmq.remoting.protocol.subscription.SubscriptionGroupConfig;

/** Light queues and topics of priorities by raw requests: what they are answered, good ones and those that cannot be. */
final class DifferentialLight {
    private static final String TOPIC = "diff-light";
    private static final String BY_PRIORITY = "diff-priority";
    private static final String GROUP = "diff-light-reader";
    private static final String LIGHT_GROUP = "%LMQ%diff-light-group";

    private final Env env;
    private final DifferentialAnswers answers;
    private final RawPop raw;

    private DifferentialLight(Env env, Path folder) {
        this.env = env;
        answers = new DifferentialAnswers(folder, "light");
        raw = new RawPop(env, GROUP, TOPIC);
    }

    static void record(Env env, Path folder) throws Exception {
        DifferentialLight rows = new DifferentialLight(env, folder);
        rows.state();
        rows.sending();
        rows.reading();
        rows.offsets();
        rows.popping();
        rows.priorities();
    }

    private void state() throws Exception {
        env.topic(TOPIC, 2);
        group(GROUP, Map.of());
        TopicConfig topic = new TopicConfig(BY_PRIORITY, 4, 4);
        topic.setAttributes(Map.of("+message.type", "PRIORITY"));
        env.admin.createAndUpdateTopicConfig(env.broker, topic);
    }

    private void group(String name, Map<String, String> attributes) throws Exception {
        SubscriptionGroupConfig group = new SubscriptionGroupConfig();
        group.setGroupName(name);
        group.setAttributes(attributes);
        env.admin.createAndUpdateSubscriptionGroupConfig(env.broker, group);
    }

    private RemotingCommand send(String topic, String body, String properties) throws Exception {
        return raw.call(RequestCode.SEND_MESSAGE, body.getBytes(StandardCharsets.UTF_8), "producerGroup", "diff-p", "topic", topic,
            "defaultTopic", "TBW102", "defaultTopicQueueNums", 4, "queueId", 0, "sysFlag", 0, "bornTimestamp", System.currentTimeMillis(),
            "flag", 0, "properties", properties, "reconsumeTimes", 0, "unitMode", false, "batch", false);
    }

    private void sending(String row, String topic, String properties) throws Exception {
        answers.write("SEND_MESSAGE", row, send(topic, row, properties), null);
    }

    static String property(String name, String value) {
        return name + '\u0001' + value + '\u0002';
    }

    private static String to(String queues) {
        return property("INNER_MULTI_DISPATCH", queues);
    }

    private void sending() throws Exception {
        sending("to-one", TOPIC, to("%LMQ%diff-a"));
        sending("to-two", TOPIC, to("%LMQ%diff-a,%LMQ%diff-b"));
        sending("to-one-twice", TOPIC, to("%LMQ%diff-twice,%LMQ%diff-twice"));
        sending("with-offsets", TOPIC, to("%LMQ%diff-a") + property("INNER_MULTI_QUEUE_OFFSET", "77"));
        sending("to-none", TOPIC, to(""));
        sending("to-no-light-queue", TOPIC, to("diff-topic"));
        sending("to-the-queue-itself", "%LMQ%diff-direct", "");
        sending("delayed", TOPIC, to("%LMQ%diff-delayed") + property("DELAY", "1"));
    }

    private void reading() throws Exception {
        for (String queue : List.of("%LMQ%diff-a", "%LMQ%diff-b", "%LMQ%diff-twice", "%LMQ%diff-none", "%LMQ%diff-direct", "diff-topic-none")) {
            String row = queue.replace("%LMQ%diff-", "");
            pull(row, queue, 0, 0);
            for (int code : new int[] {RequestCode.GET_MAX_OFFSET, RequestCode.GET_MIN_OFFSET, RequestCode.SEARCH_OFFSET_BY_TIMESTAMP,
                RequestCode.GET_EARLIEST_MSG_STORETIME}) {
                answers.write(name(code), row, raw.call(code, null, "topic", queue, "queueId", 0, "timestamp", 1), null);
            }
            RemotingCommand stats = raw.call(RequestCode.GET_TOPIC_STATS_INFO, null, "topic", queue);
            answers.write("GET_TOPIC_STATS_INFO", row, stats, stats.getCode() == 0 ? new String(stats.getBody(), StandardCharsets.UTF_8) : null);
        }
        pull("queue-1", "%LMQ%diff-a", 1, 0);
        pull("queue-99", "%LMQ%diff-a", 99, 0);
        pull("behind-the-end", "%LMQ%diff-a", 0, 99);
        pull("at-the-end", "%LMQ%diff-b", 0, 1);
        pull("below-0", "%LMQ%diff-a", 0, -1);
    }

    private void pull(String row, String queue, int id, long offset) throws Exception {
        RemotingCommand answer = raw.call(RequestCode.PULL_MESSAGE, null, "consumerGroup", GROUP, "topic", queue, "queueId", id,
            "queueOffset", offset, "maxMsgNums", 32, "sysFlag", 4, "commitOffset", 0, "suspendTimeoutMillis", 0, "subscription", "*",
            "subVersion", 0, "expressionType", "TAG");
        answers.write("PULL_MESSAGE", row, answer, answer.getCode() == 0 ? messages(answer) : null);
    }

    static String messages(RemotingCommand answer) {
        List<String> all = new ArrayList<>();
        for (MessageExt message : MessageDecoder.decodes(ByteBuffer.wrap(answer.getBody()))) {
            all.add(Env.body(message) + " of " + message.getTopic() + " " + message.getQueueId() + "/" + message.getQueueOffset()
                + " " + message.getProperty("INNER_MULTI_DISPATCH") + "=" + message.getProperty("INNER_MULTI_QUEUE_OFFSET"));
        }
        return all.toString();
    }

    private void offsets() throws Exception {
        for (String group : List.of(GROUP, LIGHT_GROUP, "diff-nobody")) {
            String row = group.replace("%LMQ%", "");
            query(row + "-before", group, "%LMQ%diff-a");
            commit(row, group, "%LMQ%diff-a", 2);
            query(row, group, "%LMQ%diff-a");
            commit(row + "-behind", group, "%LMQ%diff-a", 99);
            commit(row + "-none", group, "%LMQ%diff-none", 1);
            query(row + "-none", group, "%LMQ%diff-none");
        }
    }

    private void commit(String row, String group, String queue, long offset) throws Exception {
        answers.write("UPDATE_CONSUMER_OFFSET", row, raw.call(RequestCode.UPDATE_CONSUMER_OFFSET, null, "consumerGroup", group, "topic", queue,
            "queueId", 0, "commitOffset", offset), null);
    }

    private void query(String row, String group, String queue) throws Exception {
        answers.write("QUERY_CONSUMER_OFFSET", row, raw.call(RequestCode.QUERY_CONSUMER_OFFSET, null, "consumerGroup", group, "topic", queue,
            "queueId", 0), null);
    }

    private void popping() throws Exception {
        pop("a-light-queue", "diff-light-popper", "%LMQ%diff-a", 0, 32);
        pop("no-light-queue", "diff-light-popper", "%LMQ%diff-none", 0, 32);
        pop("queue-1", "diff-light-popper", "%LMQ%diff-a", 1, 32);
    }

    private void pop(String row, String group, String topic, int queue, int most) throws Exception {
        RemotingCommand answer = raw.call(RequestCode.POP_MESSAGE, null, "consumerGroup", group, "topic", topic, "queueId", queue,
            "maxMsgNums", most, "invisibleTime", 600_000, "pollTime", 0, "bornTime", System.currentTimeMillis(), "initMode", 0,
            "expType", "TAG", "exp", "*", "order", false);
        answers.write("POP_MESSAGE", row, answer, answer.getCode() == 0 ? messages(answer) : null);
    }

    private void priorities() throws Exception {
        for (String priority : List.of("2", "0", "3", "4", "99", "-1", "high", "")) {
            sending("priority-" + priority, BY_PRIORITY, property("_SYS_MSG_PRIORITY_", priority));
        }
        sending("no-priority", BY_PRIORITY, "");
        sending("priority-and-delay", BY_PRIORITY, property("_SYS_MSG_PRIORITY_", "3") + property("DELAY", "5"));
        sending("priority-and-order", BY_PRIORITY, property("_SYS_MSG_PRIORITY_", "3") + property("__SHARDINGKEY", "k"));
        sending("priority-elsewhere", TOPIC, property("_SYS_MSG_PRIORITY_", "1"));
        RemotingCommand all = raw.call(RequestCode.POP_MESSAGE, null, "consumerGroup", "diff-priority-reader", "topic", BY_PRIORITY, "queueId", -1,
            "maxMsgNums", 32, "invisibleTime", 600_000, "pollTime", 0, "bornTime", System.currentTimeMillis(), "initMode", 0,
            "expType", "TAG", "exp", "*", "order", false);
        answers.write("POP_MESSAGE", "by-priority", all, all.getCode() == 0 ? messages(all) : null);
        for (String factor : List.of("0", "100", "-1", "101", "many")) {
            group("priority-factor-" + factor, "+priority.factor", factor);
        }
        group("lite-unknown", "+lite.nothing", "1");
        for (String quota : List.of("-2", "-1", "0", "many")) {
            group("lite-quota-" + quota, "+lite.sub.client.quota", quota);
        }
        for (String count : List.of("9", "10", "many")) {
            group("lite-events-" + count, "+lite.sub.client.max.event.cnt", count);
        }
        for (String word : List.of("true", "false", "perhaps")) {
            group("lite-reset-exclusive-" + word, "+lite.sub.reset.offset.exclusive", word);
            group("lite-reset-unsubscribe-" + word, "+lite.sub.reset.offset.unsubscribe", word);
            group("lite-wildcard-" + word, "+lite.sub.wildcard", word);
        }
        for (String model : List.of("Shared", "Exclusive", "shared")) {
            group("lite-model-" + model, "+lite.sub.model", model);
        }
        for (String minutes : List.of("-2", "-1", "0", "1", "43200", "43201")) {
            RemotingCommand answer = raw.call(RequestCode.UPDATE_AND_CREATE_TOPIC, null, "topic", "diff-lite-attributes", "defaultTopic", "TBW102",
                "readQueueNums", 1, "writeQueueNums", 1, "perm", 6, "topicFilterType", "SINGLE_TAG", "topicSysFlag", 0, "order", false,
                "attributes", "+message.type=LITE,+lite.topic.expiration=" + minutes);
            answers.write("UPDATE_AND_CREATE_TOPIC", "expiration-" + minutes, answer, null);
        }
    }

    /** What a group with an attribute is answered; each is another group, so that nothing is left of the one before. */
    private void group(String row, String attribute, String value) throws Exception {
        SubscriptionGroupConfig group = new SubscriptionGroupConfig();
        group.setGroupName("diff-" + row);
        group.setAttributes(Collections.singletonMap(attribute, value));
        answers.write("UPDATE_AND_CREATE_SUBSCRIPTIONGROUP", row, raw.call(RequestCode.UPDATE_AND_CREATE_SUBSCRIPTIONGROUP,
            org.apache.rocketmq.remoting.protocol.RemotingSerializable.encode(group)), null);
    }

    private static String name(int code) {
        return switch (code) {
            case RequestCode.GET_MAX_OFFSET -> "GET_MAX_OFFSET";
            case RequestCode.GET_MIN_OFFSET -> "GET_MIN_OFFSET";
            case RequestCode.SEARCH_OFFSET_BY_TIMESTAMP -> "SEARCH_OFFSET_BY_TIMESTAMP";
            default -> "GET_EARLIEST_MSG_STORETIME";
        };
    }
}
